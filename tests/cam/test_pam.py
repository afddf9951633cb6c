"""Prompt affinity mining, with a SAM of random weights and with stand-ins for its masks."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.cam import pam
from epsam.cam.pam import LATTICE, PromptAffinity, grid_points, prompt_features, scale_to_range
from epsam.cam.refiner import build_refiner
from epsam.cam.refiner_sam import locate_refiner_sam, resolve_refiner_sam
from epsam.config.masks import MaskRule
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import sha256_of
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.segment.sam.specs import IMAGE
from support.mini import smaller_sam, write_random_sam

CPU = DeviceConfig(torch.device("cpu"), None)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    with smaller_sam():
        yield build_sam("vit_demo")


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    path = tmp_path_factory.mktemp("sam") / "sam.pth"
    with smaller_sam():
        write_random_sam(path)
        yield resolve_refiner_sam(
            MaskRule(refine="pam", map_sam="vit_demo", map_sam_checkpoint=str(path), pam_grid=3),
            "mini",
            path.parent,
        )


def example_images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def red_map(images):
    """Logits 0; the map is the red channel in cells of 8 px."""
    return torch.zeros(len(images)), torch.nn.functional.avg_pool2d(images[:, 0], 8)


def test_points_are_the_centres_of_a_grid_over_the_whole_image():
    points = grid_points(8, 1024)
    assert points.shape == (64, 2)
    assert points[0].tolist() == [64, 64]
    assert points[7].tolist() == [960, 64]
    assert points[-1].tolist() == [960, 960]
    assert points.mean(axis=0).tolist() == [512, 512]
    assert grid_points(1, 256).tolist() == [[128, 128]]


def test_features_are_the_sum_of_the_masks_probabilities_or_each_of_them(sam):
    embedding = torch.randn(1, 256, 16, 16, generator=torch.Generator().manual_seed(1))
    # More points than are decoded at once.
    points = grid_points(5, 128)
    with torch.no_grad():
        stack = prompt_features(sam, embedding, points, "stack")
        total = prompt_features(sam, embedding, points, "sum")
    assert stack.shape == (25, LATTICE, LATTICE)
    assert 0 <= float(stack.min()) <= float(stack.max()) <= 1
    torch.testing.assert_close(total[0], stack.sum(dim=0))


def test_the_encoder_runs_once_for_all_prompts_of_an_image(rule, monkeypatch):
    passes = []
    encode = SamSegmenter.encode

    def counted(self, images):
        passes.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(SamSegmenter, "encode", counted)
    _, maps = build_refiner(rule)(red_map, example_images())
    assert passes == [1, 1]
    assert maps.shape == (2, LATTICE, LATTICE)
    torch.testing.assert_close(maps.amin(dim=(1, 2)), torch.zeros(2))
    torch.testing.assert_close(maps.amax(dim=(1, 2)), torch.ones(2))


def test_the_map_fills_the_thing_that_sam_sees_and_stays_out_of_the_rest(rule, monkeypatch):
    def one_thing(sam, embedding, points, combine):
        # Every prompt in the left half has the left half as its mask.
        mask = torch.zeros(1, LATTICE, LATTICE)
        mask[..., : LATTICE // 2] = 8.0
        return mask

    monkeypatch.setattr(pam, "prompt_features", one_thing)
    maps = torch.zeros(1, 8, 8)
    maps[0, :, 2] = 1  # near the border of the thing, yet not interpolated across it
    images = example_images()[:1]
    walked = PromptAffinity(dataclasses.replace(rule, pam_steps=16)).improve(images, maps)[0]
    unguided = PromptAffinity(dataclasses.replace(rule, pam_steps=16, pam_beta=0.0)).improve(
        images, maps
    )[0]
    right = slice(LATTICE // 2 + 4, None)
    assert float(walked[:, right].max()) < 1e-6
    assert float(unguided[:, right].max()) > 0.1


def test_a_walk_of_no_steps_is_the_scaled_map(rule):
    maps = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(3))
    unmoved = PromptAffinity(dataclasses.replace(rule, pam_steps=0)).improve(
        example_images()[:1], maps
    )
    torch.testing.assert_close(unmoved, scale_to_range(maps))


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (0.3, 1.0)])
def test_a_constant_map_stays_constant(rule, value, expected):
    maps = torch.full((1, 8, 8), value)
    walked = PromptAffinity(rule).improve(example_images()[:1], maps)
    torch.testing.assert_close(walked, torch.full((1, LATTICE, LATTICE), expected))


def test_refining_a_known_map_gives_what_refining_the_image_gives(rule):
    images = example_images()
    refiner = build_refiner(rule)
    _, expected = refiner(red_map, images)
    _, upright = red_map(images)
    torch.testing.assert_close(refiner.refine(red_map, images, upright), expected)
    # In two steps, as the stored maps of training are refined.
    _, stored = build_refiner(refiner.base_rule)(red_map, images)
    torch.testing.assert_close(refiner.improve(images, stored), expected)


def test_sam_sees_the_images_as_the_decoder_does(rule, sam, monkeypatch):
    """The embedding is that of the patch's bytes."""
    seen = []
    walk = PromptAffinity.walk

    def watched(self, sam, embeddings, maps):
        seen.append(embeddings)
        return walk(self, sam, embeddings, maps)

    monkeypatch.setattr(PromptAffinity, "walk", watched)
    patch = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images = torch.from_numpy(patch).permute(2, 0, 1)[None].float() / 255
    PromptAffinity(rule).improve(images, torch.rand(1, 8, 8))
    network = pam.load_refiner_sam(rule, torch.device("cpu"))
    (embedding,) = SamSegmenter(network, 64, 1, CPU).encode([patch])
    torch.testing.assert_close(seen[0][0], torch.from_numpy(embedding[IMAGE]).float())


def test_the_rule_holds_name_file_and_checksum_of_sam(rule, tmp_path):
    assert rule.refiner_sam_sha256 == sha256_of(Path(rule.map_sam_checkpoint))
    unused = MaskRule(map_sam="vit_b", map_sam_checkpoint="missing.pth")
    assert resolve_refiner_sam(unused, "mini", tmp_path) == MaskRule()
    with pytest.raises(WeightsError, match="missing.pth: no such file; correct --map_sam_check"):
        resolve_refiner_sam(
            dataclasses.replace(rule, map_sam_checkpoint="missing.pth"), "mini", tmp_path
        )
    with pytest.raises(WeightsError, match="another SHA-256 than --refiner_sam_sha256"):
        resolve_refiner_sam(dataclasses.replace(rule, refiner_sam_sha256="0"), "mini", tmp_path)
    with pytest.raises(WeightsError, match="--refine pam: no SAM named; give --map_sam"):
        PromptAffinity(MaskRule(refine="pam")).improve(example_images(), torch.ones(2, 8, 8))


def test_sams_file_is_found_again_where_a_run_was_moved(rule, tmp_path):
    moved = tmp_path / "sam_vit_demo.pth"
    shutil.copy(rule.map_sam_checkpoint, moved)
    elsewhere = dataclasses.replace(rule, map_sam_checkpoint="/nowhere/sam.pth")
    assert locate_refiner_sam(elsewhere, [tmp_path]).map_sam_checkpoint == str(moved)
    assert locate_refiner_sam(rule, []) == rule
    without_file = dataclasses.replace(rule, map_sam_checkpoint="")
    assert locate_refiner_sam(without_file, [tmp_path]).map_sam_checkpoint == str(moved)
    moved.write_bytes(b"other weights")
    with pytest.raises(WeightsError, match=r"/nowhere/sam.pth: missing, or not the weights of vit"):
        locate_refiner_sam(elsewhere, [tmp_path])
