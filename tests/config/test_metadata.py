from epsam.config.decoder import DecoderOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import explicit_fields, merge_fields, select_fields
from epsam.config.sam import PromptOptions, PromptOverrides


def test_selected_fields_are_those_of_the_group_as_stored():
    assert select_fields(PromptOptions, DecoderOptions(n_point=7, prompt="box")) == {
        "prompt": "box",
        "n_point": 7,
        "n_negative": 0,
        "n_region": 0,
        "mask_prompt": False,
        "pepm_weight": "activation",
        "n_draw": 1,
        "n_view": 1,
        "fill_decoder_holes": False,
    }


def test_the_first_source_that_has_a_field_wins_and_the_default_fills_the_rest():
    assert merge_fields(
        PromptOptions, {}, {"n_point": 3, "other": 1}, {"n_point": 4, "prompt": "box"}
    ) == PromptOptions(prompt="box", n_point=3)


def test_explicit_fields_leave_out_what_is_0_or_empty():
    assert explicit_fields(PromptOverrides, EvaluateOptions(n_transform=4)) == {"n_transform": 4}


def test_a_value_from_the_command_line_beats_the_old_spelling_in_a_checkpoint():
    explicit = explicit_fields(PromptOverrides, EvaluateOptions(n_transform=4))
    metadata = {"n_view": 2, "n_draw": 3, "pepm_weight": "activation"}
    merged = merge_fields(PromptOptions, explicit, metadata)
    assert (merged.n_transform, merged.n_sample, merged.pepm_weight) == (4, 3, "cam")
