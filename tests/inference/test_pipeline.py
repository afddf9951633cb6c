"""What a tile costs the classifier: one pass for the gate, and rotations if it passes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from epsam.cam.rotation import rotation_averaged_cam
from epsam.config.masks import MaskRule
from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.inference.pipeline import MapAndPromptOptions, Pipeline
from epsam.inference.progress import PhaseTimer
from epsam.inference.tile_model import Gate, TiledImage, segment_image, segment_images
from epsam.segment.sam.prompting.sam_prompt import all_points

SIDE = 16


class Bright(torch.nn.Module):
    """Red is tumour: its map is what exceeds a half, weighted by place, its logit the mean. Counts
    what it is shown.
    """

    def __init__(self):
        super().__init__()
        self.spec = SimpleNamespace(cam="enhanced_adl")
        self.weight = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        self.passes = []

    def forward_features(self, images, block=""):
        self.passes.append(len(images))
        return images[:, 0].mean(dim=(1, 2)) - 0.5, images[:, 0] - 0.5

    def cam_from_features(self, features):
        return (features * self.weight).relu()


class Everywhere:
    """A segmenter that calls all of a tile tumour."""

    frame = SimpleNamespace(patch_size=SIDE)

    def encode(self, images):
        return [np.zeros((1, 1, 1), np.float16) for _ in images]

    def predict_probabilities(self, embeddings, queries):
        return np.ones((len(embeddings), SIDE, SIDE), np.float32)


def pipeline(rotations=4, batch_size=3, segmenter=None, **prompt_options):
    options = MapAndPromptOptions(
        MaskRule(rotations=rotations, open_kernel=0), PromptOptions(n_point=2, **prompt_options)
    )
    segmenter = segmenter or Everywhere()
    device_config = DeviceConfig(torch.device("cpu"), None)
    return Pipeline(Bright(), segmenter, options, device_config, batch_size, seed=0)


def random_tiles(count, low=0, high=256):
    return list(
        np.random.default_rng(0).integers(low, high, (count, SIDE, SIDE, 3)).astype(np.uint8)
    )


@pytest.mark.parametrize("rotations", [1, 2, 4])
def test_classifying_then_refining_gives_the_rotation_averaged_cam(rotations):
    images, model = random_tiles(3), pipeline(rotations)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    probabilities, maps = rotation_averaged_cam(Bright(), batch, rotations)
    scores, upright = model.classify(images, PhaseTimer(model.phases))
    np.testing.assert_allclose(scores, probabilities)
    refined = model._tile_maps.refine(images, upright)
    np.testing.assert_allclose(np.stack([cam.map for cam in refined]), maps, atol=1e-6)
    np.testing.assert_allclose([cam.probability for cam in refined], probabilities)
    assert model.weak_model.passes == ([3] if rotations == 1 else [3, 3 * (rotations - 1)])


def test_gated_tiles_are_classified_once_and_the_others_at_every_rotation():
    """Two columns of tiles side by side: the left ones are bright, the right ones dark."""
    image = np.concatenate(random_tiles(2, 200) + random_tiles(2, 0, 50)).reshape(
        2, 2 * SIDE, SIDE, 3
    )
    image = np.concatenate(list(image), axis=1)
    model = pipeline()
    segmentation = segment_image(model, "x", image, 0.0, Gate(True, 0.5))
    assert (segmentation.n_tiles, segmentation.n_gated) == (4, 2)
    assert sum(model.weak_model.passes) == 4 + 2 * 3
    assert segmentation.mask[:, :SIDE].all()
    assert not segmentation.mask[:, SIDE:].any()


class FirstPoint(Everywhere):
    """A segmenter that calls tumour what lies above a tile's first point."""

    def predict_probabilities(self, embeddings, prompts):
        rows = [all_points(prompt)[0, 1] for prompt in prompts]
        below = np.arange(SIDE)[:, None] * np.ones(SIDE)
        return np.stack([below < row for row in rows]).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_an_images_prompts_do_not_depend_on_its_batch(batch_size):
    names = ("a", "b", "c", "d")
    images = dict(zip(names, random_tiles(4, 100), strict=True))
    alone = {}
    for name, image in images.items():
        model = pipeline(segmenter=FirstPoint())
        alone[name] = segment_image(model, name, image, 0.0, Gate(False, 0.5)).mask

    tiled = [TiledImage(name, images[name], SIDE, 0.0, Gate(False, 0.5)) for name in names]
    together = segment_images(pipeline(batch_size=batch_size, segmenter=FirstPoint()), tiled)
    for image in together:
        assert np.array_equal(image.segmentation().mask, alone[image.name])
    assert len({mask.sum() for mask in alone.values()}) > 1, "the prompts differ from each other"


class Ring(Everywhere):
    """A segmenter that calls tumour all but a pixel inside of the tile."""

    def predict_probabilities(self, embeddings, prompts):
        probabilities = super().predict_probabilities(embeddings, prompts)
        probabilities[:, 2, 2] = 0.0
        return probabilities


@pytest.mark.parametrize("fill_holes", [False, True])
def test_holes_are_filled_as_in_training(fill_holes):
    model = pipeline(segmenter=Ring(), fill_decoder_holes=fill_holes)
    (image,) = random_tiles(1, 100)
    mask = segment_image(model, "x", image, 0.0, Gate(False, 0.5)).mask
    assert mask[2, 2] == fill_holes
    assert mask.sum() == SIDE**2 - (not fill_holes)
