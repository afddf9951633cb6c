"""The rules of --n_region and --mask_prompt: no other module reads their flags."""

import ast
from pathlib import Path

import numpy as np
import pytest

from epsam.config.decoder import DecoderOptions
from epsam.segment.sam.prompting.mask_prompt import load_mask_prompt
from epsam.segment.sam.prompting.regions import restrict_target, sample_region, split_into_regions
from epsam.segment.sam.prompting.rules import PromptInputs

SRC = Path(__file__).resolve().parents[4] / "src" / "epsam"


def read_attributes(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize(
    ("flag", "module"), [("n_region", "regions.py"), ("mask_prompt", "mask_prompt.py")]
)
def test_a_flag_of_a_rule_is_read_in_its_module_alone(flag, module):
    readers = [path.name for path in sorted(SRC.rglob("*.py")) if flag in read_attributes(path)]
    assert readers == [module]


def two_regions():
    """A region of 4 px at the upper left, one of 2 px at the lower right."""
    mask = np.zeros((8, 8), dtype=bool)
    mask[:2, :2] = mask[7, 6:] = True
    return PromptInputs(np.full((8, 8), 0.5, np.float32), mask)


def test_without_the_rule_of_regions_a_patch_is_prompted_whole():
    inputs, options = two_regions(), DecoderOptions(n_region=0)
    assert split_into_regions(inputs, options) == [inputs]
    rng = np.random.default_rng(0)
    assert sample_region(inputs, options, rng) is inputs
    assert rng.random() == np.random.default_rng(0).random(), "nothing was drawn"
    target = np.eye(8, dtype=bool)
    assert restrict_target(target, inputs, options) is target


def test_with_it_a_prompt_answers_for_the_tumours_that_its_region_touches():
    inputs, options = two_regions(), DecoderOptions(n_region=2)
    large, small = split_into_regions(inputs, options)
    assert (large.mask.sum(), small.mask.sum()) == (4, 2)
    target = np.zeros((8, 8), dtype=bool)
    target[1:4, 1] = target[5:, 7] = True
    assert restrict_target(target, large, options).sum() == 3
    assert np.array_equal(restrict_target(target, small, options)[:, 7], target[:, 7])


def test_inputs_are_loaded_for_a_mask_prompt_only():
    def load():
        raise AssertionError("loaded")

    assert load_mask_prompt(load, DecoderOptions()) is None
    inputs, options = two_regions(), DecoderOptions(mask_prompt=True)
    whole = load_mask_prompt(lambda: inputs, options)
    assert whole.shape == (64, 64)
    assert (whole == 0.5).all()
    # The other region's CAM is left out: 4 of 64 px, each 8 × 8 px of the prompt.
    small = split_into_regions(inputs, DecoderOptions(n_region=2))[1]
    of_region = load_mask_prompt(lambda: inputs, options, small)
    assert (of_region == 0).sum() == 4 * 64
