import math
from functools import partial

import numpy as np
import pytest

from epsam.cam.postprocess import upsample
from epsam.config.sam import PromptOptions
from epsam.core.errors import DatasetError, EpsamError
from epsam.core.seeding import generator
from epsam.methods import PROMPTS
from epsam.segment.sam.prompting.point_sampling import (
    BOX_END,
    BOX_START,
    NEGATIVE,
    POSITIVE,
    sample_points,
)
from epsam.segment.sam.prompting.rules import (
    PromptInputs,
    binary_entropy,
    collate_inputs,
    make_prompts,
    sample_negatives,
    scale_to_range,
    transform_inputs,
)
from support import arrays


def rng(number=1):
    return generator(number, "test")


block = partial(arrays.block, 20)

MASK = block(slice(2, 8), slice(3, 12))
GROUND_TRUTH = block(slice(12, 18), slice(12, 18))


def make_inputs(cam=None, mask=MASK):
    return PromptInputs(
        np.random.default_rng(0).random((20, 20)) if cam is None else cam,
        mask,
        lambda: GROUND_TRUTH,
    )


def make_prompt(inputs, options, rng):
    """The prompt of a batch of one patch."""
    return make_prompts(collate_inputs([inputs]), options, [rng])[0]


def is_inside(prompt, mask):
    return all(mask[int(y), int(x)] for x, y, _ in prompt)


def test_pepm_samples_by_the_cam_inside_the_mask():
    inputs = make_inputs()
    prompt = make_prompt(inputs, PromptOptions(n_point=9), rng())
    scaled = (inputs.cam - inputs.cam.min()) / (inputs.cam.max() - inputs.cam.min())
    assert np.array_equal(prompt[:, :2], sample_points((scaled * MASK)[None], 9, [rng()])[0])
    assert set(prompt[:, 2]) == {POSITIVE}


def test_pepm_weighs_a_pixel_by_its_height_above_the_lowest_of_the_patch():
    # 0.67 to 1 by hand: 0.67 has no weight, 0.835 half of that of 1.
    cam = np.full((20, 20), 0.67)
    cam[4, 5], cam[6, 7] = 0.835, 1.0
    scaled = scale_to_range(cam[None])[0]
    assert (scaled[4, 5], scaled[6, 7], scaled.sum()) == pytest.approx((0.5, 1, 1.5))
    prompt = make_prompt(make_inputs(cam), PromptOptions(), rng())
    assert sorted(prompt.tolist()) == [[5, 4, POSITIVE], [7, 6, POSITIVE]]

    first = []
    for number in range(900):
        first.append(make_prompt(make_inputs(cam), PromptOptions(n_point=1), rng(number))[0, 0])
    assert first.count(7) == pytest.approx(600, abs=45)


def test_the_lowest_of_the_patch_counts_not_that_of_the_mask():
    cam = np.where(MASK, 0.9, 0.4)
    cam[4, 5] = 1.0
    prompt = make_prompt(make_inputs(cam), PromptOptions(n_point=54), rng())
    assert len(prompt) == MASK.sum() == 54


@pytest.mark.parametrize("value", [0.0, 0.67, 1.0])
def test_a_constant_cam_gives_no_point_even_after_enlarging(value):
    cam = upsample(np.full((7, 7), value, np.float32), 20, 20)
    for weight in ("cam", "entropy"):
        prompt = make_prompt(make_inputs(cam), PromptOptions(pepm_weight=weight), rng())
        assert prompt.shape == (0, 3)


@pytest.mark.parametrize("rule", PROMPTS)
def test_a_patch_has_the_same_prompt_alone_and_in_a_batch(rule):
    noise = np.random.default_rng(3).random((4, 20, 20))
    inputs = [
        PromptInputs(noise[0], MASK, lambda: GROUND_TRUTH),
        PromptInputs(noise[1], np.zeros((20, 20), bool), lambda: GROUND_TRUTH),
        PromptInputs(noise[2], np.ones((20, 20), bool), lambda: MASK),
        transform_inputs(PromptInputs(noise[3], GROUND_TRUTH, lambda: MASK), 5),
    ]
    options = PromptOptions(prompt=rule, n_point=7, n_negative=3)
    batch = make_prompts(collate_inputs(inputs), options, [rng(number) for number in range(4)])
    alone = [make_prompt(patch, options, rng(number)) for number, patch in enumerate(inputs)]
    assert [prompt.tolist() for prompt in batch] == [prompt.tolist() for prompt in alone]


def test_without_a_prompt_no_negative_is_sampled_and_the_generator_is_left_alone():
    rngs, unused = [rng(1), rng(2)], rng(2)
    batch = collate_inputs([make_inputs(), make_inputs()])
    negatives = sample_negatives(batch, np.array([True, False]), 4, rngs)
    assert [len(points) for points in negatives] == [4, 0]
    assert rngs[1].random() == unused.random()


def test_negatives_lie_below_the_cams_quantile_of_their_patch():
    cams = np.random.default_rng(5).random((2, 20, 20)) * np.array([1, 10]).reshape(2, 1, 1)
    masks = np.stack([MASK, GROUND_TRUTH])
    negatives = sample_negatives(
        PromptInputs(cams, masks), np.array([True, True]), 400, [rng(), rng()]
    )
    for points, cam, mask in zip(negatives, cams, masks, strict=True):
        lowest = (cam <= np.quantile(cam[~mask], 0.2)) & ~mask
        assert sorted(map(tuple, points.tolist())) == sorted((x, y) for y, x in np.argwhere(lowest))


@pytest.mark.parametrize(
    ("rule", "region"),
    [
        ("pepm", MASK),
        ("mask_random", MASK),
        ("ground_truth_random", GROUND_TRUTH),
        ("image_random", np.ones((20, 20), bool)),
    ],
)
def test_points_lie_in_the_region_of_the_rule_and_are_positive(rule, region):
    prompt = make_prompt(make_inputs(), PromptOptions(prompt=rule, n_point=30), rng())
    assert prompt.shape == (30, 3)
    assert is_inside(prompt, region)
    assert set(prompt[:, 2]) == {POSITIVE}


def test_random_points_of_the_image_are_not_restricted_to_the_mask():
    prompt = make_prompt(make_inputs(), PromptOptions(prompt="image_random", n_point=200), rng())
    fraction = np.mean([MASK[int(y), int(x)] for x, y, _ in prompt])
    assert fraction == pytest.approx(MASK.mean(), abs=0.1)


def test_the_box_spans_the_mask_with_its_edges():
    prompt = make_prompt(make_inputs(), PromptOptions(prompt="box"), rng())
    assert prompt.tolist() == [[3, 2, BOX_START], [11, 7, BOX_END]]


def test_the_box_comes_before_the_points():
    inputs = make_inputs()
    prompt = make_prompt(inputs, PromptOptions(prompt="box_pepm", n_point=5), rng())
    assert prompt[:2].tolist() == [[3, 2, BOX_START], [11, 7, BOX_END]]
    assert np.array_equal(prompt[2:], make_prompt(inputs, PromptOptions(n_point=5), rng()))


@pytest.mark.parametrize("rule", ["pepm", "mask_random", "box", "box_pepm"])
def test_an_empty_mask_gives_an_empty_prompt_without_negatives(rule):
    prompt = make_prompt(
        make_inputs(mask=np.zeros((20, 20), bool)), PromptOptions(prompt=rule, n_negative=5), rng()
    )
    assert prompt.shape == (0, 3)


def test_entropy_favours_uncertain_pixels():
    assert binary_entropy(np.array([0.0, 0.5, 1.0, 0.1])) == pytest.approx(
        [0, math.log(2), 0, -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))]
    )
    cam = np.where(MASK, 1.0, 0.2)
    cam[4, 5] = 0.5
    prompt = make_prompt(make_inputs(cam), PromptOptions(pepm_weight="entropy"), rng())
    assert prompt.tolist() == [[5, 4, POSITIVE]]


@pytest.mark.parametrize("rule", PROMPTS)
def test_negatives_follow_the_positives_and_lie_where_the_cam_is_lowest(rule):
    cam = np.tile(np.linspace(0, 1, 20), (20, 1))
    prompt = make_prompt(
        make_inputs(cam), PromptOptions(prompt=rule, n_point=4, n_negative=6), rng()
    )
    negative = prompt[prompt[:, 2] == NEGATIVE]
    assert len(negative) == 6
    assert np.array_equal(prompt[-6:], negative)
    # Outside the mask 346 pixels are left; a fifth of them, 69, reach from column 0 (20 pixels)
    # into column 3.
    assert (negative[:, 0] <= 3).all()
    assert is_inside(negative, ~MASK)


def test_a_mask_of_the_whole_patch_leaves_no_room_for_negatives():
    prompt = make_prompt(
        make_inputs(mask=np.ones((20, 20), bool)), PromptOptions(n_point=3, n_negative=6), rng()
    )
    assert set(prompt[:, 2]) == {POSITIVE}


def test_points_of_the_ground_truth_need_a_ground_truth():
    with pytest.raises(DatasetError, match="ground_truth_random"):
        make_prompts(
            collate_inputs([make_inputs(), PromptInputs(np.ones((20, 20)), MASK)]),
            PromptOptions(prompt="ground_truth_random"),
            [rng(), rng()],
        )


def test_an_unknown_rule_is_an_error_that_lists_all_rules():
    with pytest.raises(EpsamError, match="--prompt by_moon: not known here; use pepm, mask_random"):
        make_prompt(make_inputs(), PromptOptions(prompt="by_moon"), rng())
