import numpy as np
import pytest
import torch

from epsam.core.errors import DatasetError, ImageError
from epsam.data.batches import PatchBatch, load_batches
from epsam.data.images import write_rgb
from epsam.data.patches import list_patches


@pytest.fixture
def patches(tmp_path):
    for number in range(5):
        write_rgb(
            tmp_path / "image" / f"p{number}_{number % 2}.png",
            np.full((8, 8, 3), 10 * number, np.uint8),
        )
    return list_patches(tmp_path / "image", tmp_path / "mask")


def test_batches_are_those_of_the_given_order_however_many_workers_read(patches):
    in_process = list(load_batches(patches, 8, 2, workers=0, order=[4, 1, 0]))
    by_workers = list(load_batches(patches, 8, 2, workers=2, order=[4, 1, 0]))
    assert (
        [batch.names for batch in in_process]
        == [batch.names for batch in by_workers]
        == [["p4_0", "p1_1"], ["p0_0"]]
    )
    for batch, other in zip(in_process, by_workers, strict=True):
        assert torch.equal(batch.images, other.images)
        assert torch.equal(batch.labels, other.labels)
    assert in_process[0].images[:, 0, 0, 0].tolist() == [40, 10]
    assert in_process[0].images.shape == (2, 3, 8, 8)
    assert in_process[0].labels.tolist() == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_patch_is_one_line_that_names_the_file(patches, workers):
    patches[3].image.write_bytes(b"no image")
    batches = load_batches(patches, 8, 2, workers)
    assert next(batches).names == ["p0_0", "p1_1"]
    with pytest.raises(ImageError) as caught:
        next(batches)
    assert str(caught.value).startswith(f"{patches[3].image}: not a readable")
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_patch_of_another_size_keeps_its_kind_of_error(patches):
    write_rgb(patches[0].image, np.zeros((4, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match="8×4 px among patches of 8×8"):
        next(load_batches(patches, 8, 2, workers=2))


def test_a_batch_pins_both_its_tensors(monkeypatch):
    # Pinning itself needs a GPU, so the call is replaced.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    pinned = PatchBatch(
        torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1), ["a"]
    ).pin_memory()
    assert pinned.images.unique().tolist() == [1]
    assert pinned.labels.tolist() == [1]
    assert pinned.names == ["a"]
