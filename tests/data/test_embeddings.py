import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest

from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings, check_disk_space, digest_of_image
from epsam.data.images import write_rgb
from epsam.data.patches import Patch


class CountingEncoder:
    """Stands in for SAM's encoder: returns the mean colour and counts the images."""

    def __init__(self):
        self.count = 0

    def __call__(self, images):
        self.count += len(images)
        return [{"image": np.full((2, 3, 3), image.mean(), np.float16)} for image in images]


@pytest.fixture
def encoder():
    return CountingEncoder()


def image(value, side=4):
    return np.full((side, side, 3), value, np.uint8)


def patch(folder, name, value):
    path = folder / f"{name}.png"
    pixels = image(value)
    pixels[0, 0] = 0
    write_rgb(path, pixels)
    return Patch(name, 1, path, None)


def test_an_image_is_encoded_once_even_by_another_store(tmp_path, encoder):
    first = EmbeddingStore(tmp_path, encoder, ["image"]).get(image(10))
    second = EmbeddingStore(tmp_path, encoder, ["image"]).get(image(10))
    assert encoder.count == 1
    assert np.array_equal(first["image"], second["image"])
    assert second["image"].dtype == np.float16


def test_without_a_folder_the_numbers_are_the_same_and_nothing_is_written(tmp_path, encoder):
    stored = EmbeddingStore(tmp_path / "store", encoder, ["image"]).get(image(33))["image"]
    assert np.array_equal(EmbeddingStore(None, encoder, ["image"]).get(image(33))["image"], stored)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-20], lambda b: b[:150] + bytes([b[150] ^ 1]) + b[151:], lambda b: b""],
    ids=["cut short", "one bit flipped", "emptied"],
)
def test_a_damaged_file_is_encoded_again(tmp_path, encoder, damage):
    expected = np.array(EmbeddingStore(tmp_path, encoder, ["image"]).get(image(50))["image"])
    file = next(tmp_path.rglob("*.npy"))
    file.write_bytes(damage(file.read_bytes()))
    assert np.array_equal(
        EmbeddingStore(tmp_path, encoder, ["image"]).get(image(50))["image"], expected
    )
    assert encoder.count == 2


def _fill(folder, started):
    started.wait()
    store = EmbeddingStore(folder, CountingEncoder(), ["image"])
    for value in range(40):
        store.get(image(value))


def test_two_processes_that_fill_the_same_cache_leave_every_file_complete(tmp_path, encoder):
    context = multiprocessing.get_context("fork")
    started = context.Barrier(2)
    processes = [context.Process(target=_fill, args=(tmp_path, started)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    store = EmbeddingStore(tmp_path, encoder, ["image"])
    assert all((store.get(image(value))["image"] == np.float16(value)).all() for value in range(40))
    assert encoder.count == 0
    assert sorted(p.suffix for p in tmp_path.rglob("*") if p.is_file()) == [".npy"] * 40


def test_the_digest_differs_with_pixels_and_shape():
    digests = {
        digest_of_image(image(1)),
        digest_of_image(image(2)),
        digest_of_image(image(1, 6)),
        digest_of_image(np.full((8, 2, 3), 1, np.uint8)),
    }
    assert len(digests) == 4


def test_preparing_encodes_each_transform_once_and_later_reads_need_no_image(tmp_path, encoder):
    patches = [patch(tmp_path, "a_1", 10), patch(tmp_path, "b_1", 20), patch(tmp_path, "c_1", 30)]
    embeddings = PatchEmbeddings(EmbeddingStore(tmp_path / "store", encoder, ["image"]), 4)
    assert embeddings.prepare(patches, n_transforms=2, batch_size=4) == 6
    assert embeddings.prepare(patches, n_transforms=2, batch_size=4) == 0
    for item in patches:
        patch_file = item.image.read_bytes()
        item.image.unlink()
        embeddings(item, 1)
        item.image.write_bytes(patch_file)
    assert encoder.count == 6


def test_too_little_disk_is_noticed_before_the_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_001_000))
    assert not check_disk_space(tmp_path / "x", 10, 100)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_009_000))
    assert check_disk_space(tmp_path / "x", 10, 100)


def two_features(images):
    """Stands in for a backbone of two features, as SAM 2 has three."""
    features = []
    for picture in images:
        value = picture.mean()
        coarse, fine = np.full((2, 1, 1), value, np.float16), np.full((1, 2, 2), -value, np.float16)
        features.append({"coarse": coarse, "fine": fine})
    return features


def test_each_feature_of_an_image_has_a_file_and_comes_back_under_its_name(tmp_path):
    store = EmbeddingStore(tmp_path, two_features, ["coarse", "fine"])
    store.get(image(7))
    digest = digest_of_image(image(7))
    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == [
        f"{digest}.fine.npy",
        f"{digest}.npy",
    ]
    stored = EmbeddingStore(tmp_path, two_features, ["coarse", "fine"]).load(digest)
    assert {name: array.ravel().tolist() for name, array in stored.items()} == {
        "coarse": [7.0] * 2,
        "fine": [-7.0] * 4,
    }


def test_without_one_of_its_features_an_image_is_encoded_again(tmp_path):
    store = EmbeddingStore(tmp_path, two_features, ["coarse", "fine"])
    store.get(image(7))
    next(tmp_path.rglob("*.fine.npy")).unlink()
    assert store.load(digest_of_image(image(7))) is None
    assert store.get(image(7))["fine"].shape == (1, 2, 2)
