import math

import numpy as np
import pytest

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
    collate_inputs,
    entropy,
    lowest_points,
    make_prompts,
    transform_inputs,
)


def rng(number=1):
    return generator(number, "test")


def block(rows, columns, side=20):
    mask = np.zeros((side, side), bool)
    mask[rows, columns] = True
    return mask


MASK = block(slice(2, 8), slice(3, 12))
TRUTH = block(slice(12, 18), slice(12, 18))


def hints(activation=None, mask=MASK):
    return PromptInputs(
        np.random.default_rng(0).random((20, 20)) if activation is None else activation,
        mask,
        lambda: TRUTH,
    )


def make_prompt(given, options, rng):
    """The prompt of a batch of one patch."""
    return make_prompts(collate_inputs([given]), options, [rng])[0]


def inside(prompt, mask):
    return all(mask[int(y), int(x)] for x, y, _ in prompt)


def test_pepm_draws_by_the_activation_inside_the_mask():
    given = hints()
    prompt = make_prompt(given, PromptOptions(n_point=9), rng())
    assert np.array_equal(prompt[:, :2], sample_points((given.cam * MASK)[None], 9, [rng()])[0])
    assert set(prompt[:, 2]) == {POSITIVE}


@pytest.mark.parametrize("rule", PROMPTS)
def test_a_patch_is_asked_the_same_alone_and_in_a_batch(rule):
    noise = np.random.default_rng(3).random((4, 20, 20))
    given = [
        PromptInputs(noise[0], MASK, lambda: TRUTH),
        PromptInputs(noise[1], np.zeros((20, 20), bool), lambda: TRUTH),
        PromptInputs(noise[2], np.ones((20, 20), bool), lambda: MASK),
        transform_inputs(PromptInputs(noise[3], TRUTH, lambda: MASK), 5),
    ]
    options = PromptOptions(prompt=rule, n_point=7, n_negative=3)
    together = make_prompts(collate_inputs(given), options, [rng(number) for number in range(4)])
    alone = [make_prompt(one, options, rng(number)) for number, one in enumerate(given)]
    assert [prompt.tolist() for prompt in together] == [prompt.tolist() for prompt in alone]


def test_where_nothing_is_asked_no_negative_is_drawn_and_the_generator_stays():
    rngs, untouched = [rng(1), rng(2)], rng(2)
    both = collate_inputs([hints(), hints()])
    found = lowest_points(both, np.array([True, False]), 4, rngs)
    assert [len(points) for points in found] == [4, 0]
    assert rngs[1].random() == untouched.random()


def test_negatives_lie_below_the_quantile_of_each_patch_on_its_own():
    activation = np.random.default_rng(5).random((2, 20, 20)) * np.array([1, 10]).reshape(2, 1, 1)
    masks = np.stack([MASK, TRUTH])
    found = lowest_points(
        PromptInputs(activation, masks), np.array([True, True]), 400, [rng(), rng()]
    )
    for points, values, mask in zip(found, activation, masks, strict=True):
        lowest = (values <= np.quantile(values[~mask], 0.2)) & ~mask
        assert sorted(map(tuple, points.tolist())) == sorted((x, y) for y, x in np.argwhere(lowest))


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ("pepm", MASK),
        ("mask_random", MASK),
        ("ground_truth_random", TRUTH),
        ("image_random", np.ones((20, 20), bool)),
    ],
)
def test_points_lie_where_the_rule_says_and_are_positive(rule, where):
    prompt = make_prompt(hints(), PromptOptions(prompt=rule, n_point=30), rng())
    assert prompt.shape == (30, 3)
    assert inside(prompt, where)
    assert set(prompt[:, 2]) == {POSITIVE}


def test_random_points_of_the_image_are_not_kept_to_the_mask():
    prompt = make_prompt(hints(), PromptOptions(prompt="image_random", n_point=200), rng())
    share = np.mean([MASK[int(y), int(x)] for x, y, _ in prompt])
    assert share == pytest.approx(MASK.mean(), abs=0.1)


def test_the_box_spans_the_mask_with_its_edges():
    prompt = make_prompt(hints(), PromptOptions(prompt="box"), rng())
    assert prompt.tolist() == [[3, 2, BOX_START], [11, 7, BOX_END]]


def test_box_and_points_follow_each_other():
    given = hints()
    prompt = make_prompt(given, PromptOptions(prompt="box_pepm", n_point=5), rng())
    assert prompt[:2].tolist() == [[3, 2, BOX_START], [11, 7, BOX_END]]
    assert np.array_equal(prompt[2:], make_prompt(given, PromptOptions(n_point=5), rng()))


@pytest.mark.parametrize("rule", ["pepm", "mask_random", "box", "box_pepm"])
def test_an_empty_mask_gives_an_empty_prompt_without_negatives(rule):
    prompt = make_prompt(
        hints(mask=np.zeros((20, 20), bool)), PromptOptions(prompt=rule, n_negative=5), rng()
    )
    assert prompt.shape == (0, 3)


def test_entropy_favours_what_is_undecided():
    assert entropy(np.array([0.0, 0.5, 1.0, 0.1])) == pytest.approx(
        [0, math.log(2), 0, -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))]
    )
    activation = np.where(MASK, 1.0, 0.2)
    activation[4, 5] = 0.5
    prompt = make_prompt(hints(activation), PromptOptions(pepm_weight="entropy"), rng())
    assert prompt.tolist() == [[5, 4, POSITIVE]]


@pytest.mark.parametrize("rule", PROMPTS)
def test_negatives_follow_the_positives_and_lie_where_activation_is_lowest(rule):
    activation = np.tile(np.linspace(0, 1, 20), (20, 1))
    prompt = make_prompt(
        hints(activation), PromptOptions(prompt=rule, n_point=4, n_negative=6), rng()
    )
    negative = prompt[prompt[:, 2] == NEGATIVE]
    assert len(negative) == 6
    assert np.array_equal(prompt[-6:], negative)
    # Outside the mask 346 pixels are left; a fifth of them, 69, reach from column 0 (20 pixels)
    # into column 3.
    assert (negative[:, 0] <= 3).all()
    assert inside(negative, ~MASK)


def test_a_mask_that_is_everything_leaves_no_room_for_negatives():
    prompt = make_prompt(
        hints(mask=np.ones((20, 20), bool)), PromptOptions(n_point=3, n_negative=6), rng()
    )
    assert set(prompt[:, 2]) == {POSITIVE}


def test_points_of_the_truth_need_a_truth():
    with pytest.raises(DatasetError, match="ground_truth_random"):
        make_prompts(
            collate_inputs([hints(), PromptInputs(np.ones((20, 20)), MASK)]),
            PromptOptions(prompt="ground_truth_random"),
            [rng(), rng()],
        )


def test_an_unknown_rule_is_one_line_that_lists_the_known_ones():
    with pytest.raises(EpsamError, match="--prompt by_moon: not known here; use pepm, mask_random"):
        make_prompt(hints(), PromptOptions(prompt="by_moon"), rng())
