import numpy as np
import pytest
import torch

from epsam.data.activations import Activations
from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.data.views import apply_view
from epsam.errors import DeviceError
from epsam.options import PromptOptions
from epsam.paths import RunPaths
from epsam.randomness import generator
from epsam.sam.prompts import sample_points
from epsam.training.workbench import SamSetup, asked_of, hints_of, prepare_embeddings

SIDE = 16


def test_more_draws_and_views_leave_the_first_prompt_as_it_was(tmp_path):
    run, mask = RunPaths(tmp_path), np.zeros((SIDE, SIDE), bool)
    mask[2:9, 4:15] = True
    write_rgb(tmp_path / "image" / "a_1.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(run.initial_masks("val") / "a_1.png", mask)
    patch = Patch("a_1", 1, tmp_path / "image" / "a_1.png", None)
    maps = Activations("c", {"a_1": np.random.default_rng(0).random((4, 4)).astype(np.float32)}, {})

    one = asked_of(run, "val", [patch], maps, PromptOptions(n_point=5), (7,))[0]
    weight = hints_of(run, "val", patch, maps).activation * mask
    expected = sample_points(weight[None], 5, [generator(7, "pepm", "val", "a_1")])[0]
    assert np.array_equal(one.prompt[:, :2], expected)
    assert [(view, len(queries)) for view, queries in one.asked] == [(0, 1)]

    more = asked_of(run, "val", [patch], maps, PromptOptions(n_point=5, n_draw=2, n_view=4), (7,))[0]
    assert np.array_equal(more.prompt, one.prompt)
    assert [view for view, _ in more.asked] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({query.prompt.tobytes() for _, (query,) in more.asked}) == 8
    for view, (query,) in more.asked:
        seen = apply_view(mask, view)
        assert all(seen[int(y), int(x)] for x, y, _ in query.prompt)


def test_too_little_gpu_memory_for_encoding_names_the_flag_of_the_encoder(tmp_path):
    def encode(images):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    write_rgb(tmp_path / "a_1.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    setup = SamSetup(None, PatchEmbeddings(EmbeddingStore(tmp_path / "kept", encode), SIDE), 8, "")
    with pytest.raises(DeviceError, match="encode 8 images at a time; lower --encoder_chunk"):
        prepare_embeddings(setup, [Patch("a_1", 1, tmp_path / "a_1.png", None)], 1)
