"""Which maps of a run are computed, which refined, and which read again."""

import dataclasses

import numpy as np
import pytest
import torch

from epsam.cam.refiner_sam import resolve_refiner_sam
from epsam.config.decoder import DecoderOptions
from epsam.config.masks import MaskOptions, MaskRule
from epsam.core.device import DeviceConfig
from epsam.core.shards import Shard
from epsam.data.cam_store import load_cams
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.training import cam_files, cam_parts
from epsam.training.cam_files import CamFiles
from epsam.training.cams import compute_cams
from epsam.training.sam_setup import find_embedding_cache, prepare_embeddings, prepare_sam
from support.mini import smaller_sam, write_random_sam

SIDE = 32


class RedMap(torch.nn.Module):
    """A weak model whose map is the red channel in cells of 8 px."""

    def predict(self, images):
        from epsam.weak.protocol import WeakPrediction

        maps = torch.nn.functional.avg_pool2d(images[:, :1], 8)
        return WeakPrediction(maps.mean(dim=(2, 3)), maps)


@pytest.fixture
def patches(tmp_path):
    rng = np.random.default_rng(0)
    patches = []
    for name in ("a_1", "b_1", "c_1"):
        image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        write_rgb(tmp_path / f"{name}.png", image)
        patches.append(Patch(name, 1, tmp_path / f"{name}.png", None))
    return patches


@pytest.fixture
def pam_rule(tmp_path):
    with smaller_sam():
        write_random_sam(tmp_path / "sam.pth")
        yield resolve_refiner_sam(
            MaskRule(
                refine="pam",
                map_sam="vit_demo",
                map_sam_checkpoint=str(tmp_path / "sam.pth"),
                pam_grid=2,
            ),
            "mini",
            tmp_path,
        )


def files_of(tmp_path, rule, loaded):
    def load_model():
        loaded.append(1)
        return RedMap()

    cpu = DeviceConfig(torch.device("cpu"), None)
    return CamFiles(RunPaths(tmp_path / "run"), load_model, "sum", "", rule, SIDE, 2, cpu)


def test_maps_are_stored_as_they_are_and_refined_ones_beside_them(tmp_path, patches, pam_rule):
    loaded = []
    plain = files_of(tmp_path, MaskRule(), loaded).update("train", patches)
    refined = files_of(tmp_path, pam_rule, loaded).update("train", patches)
    run = RunPaths(tmp_path / "run")
    assert load_cams(run.cams("train"), "sum").maps.keys() == {"a_1", "b_1", "c_1"}
    assert refined.maps["a_1"].shape == (64, 64)
    assert plain.maps["a_1"].shape == (4, 4)
    base = load_cams(run.base_cams("train"), "sum")
    for name, cam_map in plain.maps.items():
        assert np.array_equal(base.maps[name], cam_map)
        assert np.array_equal(load_cams(run.cams("train"), "sum").maps[name], refined.maps[name])
    assert refined.probabilities == plain.probabilities
    # The maps of the run were those that the walk starts from.
    assert loaded == [1]


def test_another_walk_or_another_sam_needs_no_pass_of_the_classifier(tmp_path, patches, pam_rule):
    loaded = []
    first = files_of(tmp_path, pam_rule, loaded).update("train", patches)
    again = files_of(tmp_path, pam_rule, loaded).update("train", patches)
    assert np.array_equal(first.maps["a_1"], again.maps["a_1"])
    still = dataclasses.replace(pam_rule, pam_steps=0)
    unmoved = files_of(tmp_path, still, loaded).update("train", patches)
    assert not np.array_equal(first.maps["a_1"], unmoved.maps["a_1"])

    torch.manual_seed(1)
    other_file = tmp_path / "other.pth"
    state = torch.load(pam_rule.map_sam_checkpoint)
    torch.save({key: torch.randn_like(tensor) for key, tensor in state.items()}, other_file)
    other = dataclasses.replace(pam_rule, map_sam_checkpoint=str(other_file), refiner_sam_sha256="")
    other = resolve_refiner_sam(other, "mini", tmp_path)
    changed = files_of(tmp_path, other, loaded).update("train", patches)
    assert changed.recipe != first.recipe
    assert not np.array_equal(first.maps["a_1"], changed.maps["a_1"])
    assert loaded == [1]


def test_current_maps_are_not_refined_again(tmp_path, patches, pam_rule, monkeypatch):
    files_of(tmp_path, pam_rule, []).update("train", patches)
    monkeypatch.setattr(cam_files, "improve_cams", None)
    files_of(tmp_path, pam_rule, []).update("train", patches)


def count_encoder_passes(monkeypatch):
    """A list that gets the number of images of each pass of SAM's encoder."""
    passes = []
    encode = SamSegmenter.encode

    def encode_and_count(self, images):
        passes.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(SamSegmenter, "encode", encode_and_count)
    return passes


def test_pam_and_the_decoder_encode_a_patch_once(tmp_path, patches, pam_rule, monkeypatch):
    uncached = files_of(tmp_path / "uncached", pam_rule, []).update("train", patches)
    assert not (tmp_path / "d").exists()

    passes = count_encoder_passes(monkeypatch)
    options = DecoderOptions(
        dataset_root=str(tmp_path),
        dataset_type="d",
        sam_model_type="vit_demo",
        sam_checkpoint=pam_rule.map_sam_checkpoint,
    )
    cache = find_embedding_cache(options)
    files = dataclasses.replace(files_of(tmp_path, pam_rule, []), embeddings=cache)
    filled = files.update("train", patches)
    assert passes == [1, 1, 1]

    # The decoder's stages find the embeddings of all patches.
    cpu = DeviceConfig(torch.device("cpu"), None)
    prepare_embeddings(prepare_sam(options, SIDE, 3, 1, cpu), patches, 1)
    # So does another walk.
    still = dataclasses.replace(files, rule=dataclasses.replace(pam_rule, pam_steps=0))
    still.update("train", patches)
    read_again = files.update("train", patches)
    assert passes == [1, 1, 1]
    for name, cam_map in uncached.maps.items():
        # Bit by bit: embeddings are rounded to half precision even where they are not stored.
        assert np.array_equal(filled.maps[name], cam_map)
        assert np.array_equal(read_again.maps[name], cam_map)


def test_without_a_cache_or_without_room_for_it_pam_encodes_anew(
    tmp_path, patches, pam_rule, monkeypatch
):
    assert find_embedding_cache(MaskOptions(embedding_cache=False)) is None
    passes = count_encoder_passes(monkeypatch)
    monkeypatch.setattr(cam_files, "check_disk_space", lambda *_: False)
    cache = tmp_path / "embeddings"
    files = dataclasses.replace(files_of(tmp_path, pam_rule, []), embeddings=cache)
    files.update("train", patches)
    assert passes == [1, 1, 1]
    assert not list(tmp_path.rglob("*.npy"))


@pytest.fixture
def small_parts(monkeypatch):
    # Batches of two patches, a batch a part.
    monkeypatch.setattr(cam_parts, "BATCHES_PER_PART", 1)


def shard_all(tmp_path, rule, patches, n_shards=3):
    """Every shard's counts of parts: computed, and stored before."""
    files = files_of(tmp_path, rule, [])
    return [files.compute_shard(patches, Shard(n + 1, n_shards)) for n in range(n_shards)]


@pytest.mark.parametrize("is_refined", [False, True])
def test_shards_and_then_the_stage_leave_the_maps_of_one_run(
    tmp_path, patches, pam_rule, small_parts, monkeypatch, is_refined
):
    rule = pam_rule if is_refined else MaskRule()
    files_of(tmp_path / "whole", rule, []).update("train", patches)
    counts = shard_all(tmp_path, rule, patches)
    assert sum(computed for computed, _ in counts) == 2
    assert not (tmp_path / "run" / "activation" / "train.npz").exists()
    # A shard that is started again has nothing to do.
    assert [computed for computed, _ in shard_all(tmp_path, rule, patches)] == [0, 0, 0]

    monkeypatch.setattr(cam_files, "compute_cams", None)
    monkeypatch.setattr(cam_files, "improve_cams", None)
    files_of(tmp_path, rule, []).update("train", patches)
    for name in ("train.npz", "base/train.npz") if is_refined else ("train.npz",):
        one = load_cams(tmp_path / "whole" / "run" / "activation" / name, "sum")
        joined = load_cams(tmp_path / "run" / "activation" / name, "sum")
        assert joined.recipe == one.recipe
        assert joined.probabilities == one.probabilities
        for patch in patches:
            assert np.array_equal(joined.maps[patch.name], one.maps[patch.name])


def test_the_stage_computes_the_parts_that_no_shard_has_left_whole(
    tmp_path, patches, small_parts, monkeypatch
):
    shard_all(tmp_path, MaskRule(), patches)
    _, last = sorted((tmp_path / "run" / "activation" / "shards").rglob("*.npz"))
    last.write_bytes(last.read_bytes()[:100])
    computed = []

    def compute(model, checksum, patches, size, rule, batch_size, device_config, batches):
        computed.extend(list(batch) for batch in batches)
        return compute_cams(
            model, checksum, patches, size, rule, batch_size, device_config, batches
        )

    monkeypatch.setattr(cam_files, "compute_cams", compute)
    cams = files_of(tmp_path, MaskRule(), []).update("train", patches)
    assert computed == [[2]]
    assert cams.maps.keys() == {"a_1", "b_1", "c_1"}
    # Parts by another rule are no parts of these maps.
    files_of(tmp_path, MaskRule(rotations=1), []).update("val", patches)
    assert computed == [[2], [0, 1], [2]]


def test_a_fitted_refiner_starts_from_the_stored_maps_of_training(tmp_path, patches):
    loaded = []
    rule = MaskRule(refine="stain")
    fields = files_of(tmp_path, rule, loaded).fit_refiner(patches)
    assert len(fields["stain_weights"]) == 9
    assert loaded == [1]

    # The maps are there: the second fit and the refined maps need no classifier.
    assert files_of(tmp_path, rule, loaded).fit_refiner(patches) == fields
    fitted = dataclasses.replace(rule, **fields)
    assert files_of(tmp_path, fitted, loaded).fit_refiner(patches) == {}
    refined = files_of(tmp_path, fitted, loaded).update("train", patches)
    assert loaded == [1]
    assert refined.maps["a_1"].shape == (64, 64)


def test_shards_of_a_refiner_that_is_not_fitted_yet_make_the_maps_it_starts_from(tmp_path, patches):
    loaded = []
    rule = MaskRule(refine="stain")
    assert files_of(tmp_path, rule, loaded).compute_shard(patches, Shard(1, 1)) == (1, 0)
    fields = files_of(tmp_path, rule, loaded).fit_refiner(patches)
    assert loaded == [1]
    whole = files_of(tmp_path / "whole", rule, []).fit_refiner(patches)
    assert fields == whole
