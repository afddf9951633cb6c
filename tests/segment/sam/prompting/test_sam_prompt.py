from functools import partial

import numpy as np
import pytest
import torch

from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.core.seeding import generator
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.prompting.mask_prompt import make_mask_prompt
from epsam.segment.sam.prompting.point_sampling import collate_points
from epsam.segment.sam.prompting.regions import components_touching, largest_components
from epsam.segment.sam.prompting.rules import PromptInputs, collate_inputs, make_prompts
from epsam.segment.sam.prompting.sam_prompt import SamPrompt, all_points, make_sam_prompts
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.segment.sam.specs import IMAGE
from support import arrays

SIDE = 64


block = partial(arrays.block, SIDE)

SMALL, LARGE, TINY = (
    block(slice(2, 8), slice(3, 12)),
    block(slice(20, 50), slice(20, 60)),
    block(62, 1),
)
INPUTS = PromptInputs(
    np.where(SMALL, 0.5, np.where(LARGE, 1.0, 0.25)), SMALL | LARGE | TINY, lambda: SMALL | TINY
)


def rng():
    return generator(1, "test")


def prompts_of_patch(inputs, options):
    return make_sam_prompts([inputs], options, [rng()])[0]


def test_by_default_there_is_one_prompt_with_the_points_of_the_rule():
    (prompt,) = prompts_of_patch(INPUTS, PromptOptions(n_point=7))
    assert np.array_equal(
        prompt.points, make_prompts(collate_inputs([INPUTS]), PromptOptions(n_point=7), [rng()])[0]
    )
    assert prompt.cam is None
    empty = PromptInputs(INPUTS.cam, block([], []))
    assert prompts_of_patch(empty, PromptOptions()) == ()
    assert prompts_of_patch(empty, PromptOptions(n_region=3)) == ()


def test_each_region_has_a_prompt_the_largest_first():
    prompts = prompts_of_patch(INPUTS, PromptOptions(prompt="box", n_region=2))
    assert [prompt.points[:, :2].tolist() for prompt in prompts] == [
        [[20, 20], [59, 49]],
        [[3, 2], [11, 7]],
    ]
    assert all_points(prompts).shape == (4, 3)
    assert all_points(()).shape == (0, 3)
    assert len(prompts_of_patch(INPUTS, PromptOptions(prompt="box", n_region=9))) == 3


def test_a_regions_points_and_ground_truth_lie_in_it():
    for component, region in zip(largest_components(INPUTS, 3), (LARGE, SMALL, TINY), strict=True):
        assert np.array_equal(component.mask, region)
        assert np.array_equal(component.ground_truth(), region & ~LARGE)
    large, small = prompts_of_patch(INPUTS, PromptOptions(n_region=2, n_point=20, n_negative=3))
    for prompt, region in ((large, LARGE), (small, SMALL)):
        assert all(region[int(y), int(x)] == (label == 1) for x, y, label in prompt.points)


def test_a_patch_has_the_same_prompts_alone_and_in_a_batch():
    empty = PromptInputs(INPUTS.cam, block([], []))
    other = PromptInputs(INPUTS.cam, LARGE)
    options = PromptOptions(n_region=2, n_point=5, n_negative=2)
    batch = make_sam_prompts(
        [other, empty, INPUTS], options, [generator(9, "other"), generator(8, "none"), rng()]
    )
    assert [len(prompts) for prompts in batch] == [1, 0, 2]
    alone = prompts_of_patch(INPUTS, options)
    assert [prompt.points.tolist() for prompt in batch[2]] == [
        prompt.points.tolist() for prompt in alone
    ]


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert len(largest_components(PromptInputs(INPUTS.cam, block(1, 1) | block(2, 2)), 5)) == 1


def test_a_mask_prompt_is_the_cam_without_the_other_regions():
    large = largest_components(INPUTS, 1)[0]
    assert np.array_equal(make_mask_prompt(INPUTS, INPUTS), INPUTS.cam)
    assert np.array_equal(make_mask_prompt(large, INPUTS), np.where(SMALL | TINY, 0, INPUTS.cam))
    prompts = prompts_of_patch(INPUTS, PromptOptions(n_region=1, mask_prompt=True))
    assert np.array_equal(prompts[0].cam, make_mask_prompt(large, INPUTS))


def test_components_that_a_region_touches_are_taken_whole():
    target = block(slice(5, 15), slice(10, 14)) | block(slice(30, 32), slice(0, 4))
    assert np.array_equal(components_touching(target, SMALL), block(slice(5, 15), slice(10, 14)))
    assert not components_touching(target, TINY).any()
    assert np.array_equal(components_touching(target, SMALL | block(31, slice(0, 9))), target)


def test_cams_become_logits_of_the_whole_patch():
    cams = torch.tensor([[[0.0, 1.0], [0.5, 0.8]]])
    logits = SamFrame(512, 1024).to_mask_logits(cams, (2, 2))
    # logit(0.99) = ln 99, logit(0.8) = ln 4.
    expected = torch.tensor([[[[-np.log(99), np.log(99)], [0, np.log(4)]]]], dtype=torch.float32)
    assert torch.allclose(logits, expected, atol=1e-4)
    assert SamFrame(512, 1024).to_mask_logits(cams, (8, 6)).shape == (1, 1, 8, 6)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return SamSegmenter(build_sam("vit_demo"), SIDE, 4, DeviceConfig(torch.device("cpu"), None))


def embeddings(count):
    source = np.random.default_rng(0)
    return [{IMAGE: source.normal(size=(256, 32, 32)).astype(np.float16)} for _ in range(count)]


def sam_prompt(*rows, cam=None):
    return SamPrompt(np.array(rows, np.float32), cam)


@torch.no_grad()
def predict_one(segmenter, embedding, prompt):
    return segmenter.predict_logits([embedding], [prompt]).sigmoid().numpy()[0]


def test_the_masks_of_a_patchs_prompts_are_united_and_no_prompt_is_no_tumour(segmenter):
    first, second = embeddings(2)
    prompts = (
        sam_prompt((20, 30, 1), (22, 9, 1)),
        sam_prompt((50, 50, 1)),
        sam_prompt((5, 5, 1), (60, 60, 0)),
    )
    united = segmenter.predict_probabilities([first, second, first], [prompts[:2], (), prompts])
    single = [predict_one(segmenter, first, prompt) for prompt in prompts]
    assert np.allclose(united[0], np.maximum(single[0], single[1]), atol=1e-5)
    assert not united[1].any()
    assert np.allclose(united[2], np.max(single, axis=0), atol=1e-5)


def test_boxes_with_different_numbers_of_points_do_not_disturb_each_other(segmenter):
    first, second = embeddings(2)
    prompts = [
        sam_prompt((3, 4, 2), (30, 31, 3)),
        sam_prompt((3, 4, 2), (30, 31, 3), (9, 9, 1), (50, 50, 0)),
    ]
    batch = segmenter.predict_probabilities([first, second], [prompts[:1], prompts[1:]])
    assert np.allclose(batch[0], predict_one(segmenter, first, prompts[0]), atol=1e-5)
    assert np.allclose(batch[1], predict_one(segmenter, second, prompts[1]), atol=1e-5)


@torch.no_grad()
def test_a_mask_prompt_gives_the_packages_result_for_its_logits(segmenter):
    (embedding,) = embeddings(1)
    cam = np.random.default_rng(1).random((64, 64)).astype(np.float16)
    prompt = sam_prompt((20, 30, 1), cam=cam)
    logits = segmenter.frame.to_mask_logits(torch.from_numpy(cam).float()[None], (128, 128))
    coordinates, labels = collate_points([prompt.points], segmenter.frame, 4)
    sam = segmenter.sam
    sparse, dense = sam.prompt_encoder((coordinates, labels), None, logits)
    stacked = torch.from_numpy(embedding[IMAGE]).float()[None]
    masks, _ = sam.mask_decoder.predict_masks(
        stacked, sam.prompt_encoder.get_dense_pe(), sparse, dense
    )
    assert torch.equal(decode(sam, stacked, coordinates, labels, logits), masks[:, 0])
    assert np.allclose(
        predict_one(segmenter, embedding, prompt),
        segmenter.frame.to_patch_logits(masks[:, 0]).sigmoid()[0],
        atol=1e-5,
    )
    assert not np.allclose(
        predict_one(segmenter, embedding, prompt),
        predict_one(segmenter, embedding, sam_prompt((20, 30, 1))),
        atol=1e-4,
    )
