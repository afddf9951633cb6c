import math

import numpy as np
import pytest

from epsam.errors import DatasetError, EpsamError
from epsam.methods import PROMPTS
from epsam.options import PromptOptions
from epsam.randomness import generator
from epsam.sam.prompt_rules import Hints, entropy, make_prompt
from epsam.sam.prompts import BOX_END, BOX_START, NEGATIVE, POSITIVE, pepm_points


def rng(number=1):
    return generator(number, "test")


def block(rows, columns, side=20):
    mask = np.zeros((side, side), bool)
    mask[rows, columns] = True
    return mask


MASK = block(slice(2, 8), slice(3, 12))
TRUTH = block(slice(12, 18), slice(12, 18))


def hints(activation=None, mask=MASK):
    return Hints(np.random.default_rng(0).random((20, 20)) if activation is None else activation, mask, lambda: TRUTH)


def inside(prompt, mask):
    return all(mask[int(y), int(x)] for x, y, _ in prompt)


def test_pepm_draws_what_it_drew_before_there_were_other_rules():
    given = hints()
    prompt = make_prompt(given, PromptOptions(n_point=9), rng())
    assert np.array_equal(prompt[:, :2], pepm_points(given.activation, MASK, 9, rng()))
    assert set(prompt[:, 2]) == {POSITIVE}


@pytest.mark.parametrize(("rule", "where"), [("pepm", MASK), ("mask_random", MASK), ("truth_random", TRUTH),
                                             ("image_random", np.ones((20, 20), bool))])
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


@pytest.mark.parametrize("rule", ["pepm", "mask_random", "box"])
def test_an_empty_mask_gives_an_empty_prompt_without_negatives(rule):
    prompt = make_prompt(hints(mask=np.zeros((20, 20), bool)), PromptOptions(prompt=rule, n_negative=5), rng())
    assert prompt.shape == (0, 3)


def test_entropy_favours_what_is_undecided():
    assert entropy(np.array([0.0, 0.5, 1.0, 0.1])) == pytest.approx(
        [0, math.log(2), 0, -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))])
    activation = np.where(MASK, 1.0, 0.2)
    activation[4, 5] = 0.5
    prompt = make_prompt(hints(activation), PromptOptions(pepm_weight="entropy"), rng())
    assert prompt.tolist() == [[5, 4, POSITIVE]]


@pytest.mark.parametrize("rule", PROMPTS)
def test_negatives_follow_the_positives_and_lie_where_activation_is_lowest(rule):
    activation = np.tile(np.linspace(0, 1, 20), (20, 1))
    prompt = make_prompt(hints(activation), PromptOptions(prompt=rule, n_point=4, n_negative=6), rng())
    negative = prompt[prompt[:, 2] == NEGATIVE]
    assert len(negative) == 6
    assert np.array_equal(prompt[-6:], negative)
    # Outside the mask 346 pixels are left; a fifth of them, 69, reach from column 0 (20 pixels) into column 3.
    assert (negative[:, 0] <= 3).all()
    assert inside(negative, ~MASK)


def test_a_mask_that_is_everything_leaves_no_room_for_negatives():
    prompt = make_prompt(hints(mask=np.ones((20, 20), bool)), PromptOptions(n_point=3, n_negative=6), rng())
    assert set(prompt[:, 2]) == {POSITIVE}


def test_points_of_the_truth_need_a_truth():
    with pytest.raises(DatasetError, match="truth_random"):
        make_prompt(Hints(np.ones((4, 4)), np.ones((4, 4), bool)), PromptOptions(prompt="truth_random"), rng())


def test_an_unknown_rule_is_one_line_that_lists_the_known_ones():
    with pytest.raises(EpsamError, match="--prompt by_moon: not known here; use pepm, mask_random"):
        make_prompt(hints(), PromptOptions(prompt="by_moon"), rng())
