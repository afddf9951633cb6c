"""The tables of docs/constants.md against the code: every flag that changes a result, its default
and its source; presets; and constants without a flag.
"""

import importlib
import re

import pytest

from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import BoxDecoderOptions, DecoderOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.flags import flag_rows, format_default
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.config.presets import PRESETS
from epsam.config.segmenter import SegmenterOptions
from epsam.weak.adl import AttentionDropout
from epsam.weak.resnet import NetworkSpec
from support.mini import REPOSITORY

PAGE = (REPOSITORY / "docs" / "constants.md").read_text("utf-8")
STAGES = {
    "extract_patches": PatchOptions,
    "train_classifier": ClassifierOptions,
    "generate_initial_masks": MaskOptions,
    "retrain_decoder": RetrainOptions,
    "train_segmenter": SegmenterOptions,
    "train_box_decoder": BoxDecoderOptions,
    "evaluate": EvaluateOptions,
    "infer": InferOptions,
}


def section_with(text):
    """The section of the page that holds a text."""
    (section,) = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if text in part]
    return section


def rows_of(section):
    """The cells of a section's table, its head left out."""
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    rows = []
    for line in lines[1:]:
        cells = line.strip("| ").split("|")
        rows.append([cell.strip().strip("`") for cell in cells])
    return rows


@pytest.mark.parametrize("stage", STAGES)
def test_every_flag_stands_in_the_table_with_its_default_and_source_and_nothing_else_does(stage):
    table = rows_of(section_with(f"`{stage}.py`:"))
    documented = [(flag, default, source) for flag, default, _, source in table]
    declared = [row[1:] for row in flag_rows(stage, STAGES[stage])]
    # Rows of docs/constants.md that are missing or differ, and those of no flag.
    missing = [row for row in declared if row not in documented]
    without_a_flag = [row for row in documented if row not in declared]
    assert (missing, without_a_flag) == ([], [])
    assert len(documented) == len(declared)


def test_the_preliminary_decoder_has_the_defaults_of_the_rounds():
    stage = "retrain_decoder"
    assert set(flag_rows(stage, DecoderOptions)) < set(flag_rows(stage, RetrainOptions))


def test_the_presets_of_camelyon_are_those_of_the_page():
    documented = {}
    for script, flag, value, _ in rows_of(section_with("--dataset_type camelyon16")):
        documented.setdefault(script.removesuffix(".py"), {})[flag.removeprefix("--")] = value

    presets = {}
    for stage, row in PRESETS["camelyon16"].items():
        presets[stage] = {name: format_default(value) for name, value in row.items()}
    assert documented == presets
    assert PRESETS["camelyon17"] == {}


def named_constants():
    rows = rows_of(section_with("Constants without a flag"))
    return [(name, value) for _, value, name, _ in rows if name]


@pytest.mark.parametrize(("name", "value"), named_constants())
def test_a_constant_has_the_value_of_the_page(name, value):
    module, _, attribute = name.rpartition(".")
    assert str(getattr(importlib.import_module(module), attribute)) == value


def test_a_network_without_options_is_that_of_the_flags_defaults():
    spec = NetworkSpec()
    assert spec == NetworkSpec.of(ClassifierOptions())
    dropout = AttentionDropout()
    assert (dropout.drop_rate, dropout.threshold) == (spec.adl_drop_rate, spec.adl_threshold)
