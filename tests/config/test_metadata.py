from epsam.config.decoder import DecoderOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import explicit_fields, merge_fields, select_fields
from epsam.config.sam import PromptOptions, PromptOverrides


def test_facts_are_the_parts_fields_as_the_stage_had_them():
    assert select_fields(PromptOptions, DecoderOptions(n_point=7, prompt="box")) == {
        "prompt": "box",
        "n_point": 7,
        "n_negative": 0,
        "n_region": 0,
        "mask_prompt": False,
        "pepm_weight": "activation",
        "n_draw": 1,
        "n_view": 1,
    }


def test_the_first_source_that_tells_wins_and_the_default_fills_the_rest():
    assert merge_fields(
        PromptOptions, {}, {"n_point": 3, "other": 1}, {"n_point": 4, "prompt": "box"}
    ) == PromptOptions(prompt="box", n_point=3)


def test_what_is_0_or_empty_was_not_given():
    assert explicit_fields(PromptOverrides, EvaluateOptions(n_view=4)) == {"n_view": 4}
