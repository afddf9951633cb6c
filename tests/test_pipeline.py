"""The one list of stages holds for train.sh, presets, options and files alike."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from epsam.config.ablation import AblateOptions
from epsam.config.command_line import parse
from epsam.config.method_presets import METHOD_FLAGS, METHOD_PRESETS
from epsam.config.preflight import CheckOptions
from epsam.config.presets import PRESETS
from epsam.core.errors import EpsamError
from epsam.paths import RunPaths
from epsam.pipeline import (
    STAGES,
    recipe_stages,
    training_stages,
)
from epsam.recipes import RECIPES
from epsam.stage_files import list_outputs, list_round_files, stage_of_completion
from support.mini import REPOSITORY

TRAIN_SH = (REPOSITORY / "train.sh").read_text("utf-8")
WITH_FLAGS = [stage for stage in STAGES.values() if stage.flags_variable and stage.name != "infer"]


def test_train_sh_declares_the_flags_of_each_stage_and_gives_them_to_the_check():
    for stage in WITH_FLAGS:
        assert f"\n{stage.flags_variable}=${{{stage.flags_variable}:-" in TRAIN_SH
        assert f'--{stage.flags_option}="${stage.flags_variable}"' in TRAIN_SH


def test_the_check_and_the_ablation_take_the_flags_of_each_stage():
    check_options = [field.name for field in fields(CheckOptions)]
    assert [stage.flags_option for stage in WITH_FLAGS] == [
        name for name in check_options if name.endswith("_flags")
    ]
    ablate_options = {field.name for field in fields(AblateOptions)}
    assert {stage.flags_option for stage in training_stages()} <= ablate_options
    ablate_sh = (REPOSITORY / "ablate.sh").read_text("utf-8")
    for stage in training_stages():
        assert f'--{stage.flags_option}="${stage.flags_variable}"' in ablate_sh


def test_every_script_is_there_and_every_preset_is_one_of_a_stage():
    assert all((REPOSITORY / stage.script).is_file() for stage in STAGES.values())
    for dataset, rows in PRESETS.items():
        assert rows.keys() <= STAGES.keys(), dataset


def test_stages_follow_each_other_and_read_what_earlier_ones_write():
    for method in RECIPES:
        written: set[str] = set()
        for stage in recipe_stages(method):
            from_run = {item for item in stage.inputs if item.startswith("run/")}
            # Evaluation scores what there is.
            if stage.name == "evaluate":
                assert from_run & written, method
            else:
                assert from_run <= written, (method, stage.name)
            written |= set(stage.outputs)
        assert set(STAGES["infer"].inputs) & written, method


def parse_stage(name, *words):
    return parse(name, STAGES[name].load_options_class(), list(words))


def test_flags_of_a_method_are_flags_of_its_stages():
    assert METHOD_FLAGS.keys() <= RECIPES.keys()
    for method, rows in METHOD_FLAGS.items():
        assert rows.keys() <= {*RECIPES[method], "infer"}, method
        for name, row in rows.items():
            options = parse_stage(name, "--recipe", method)
            assert {key: getattr(options, key) for key in row} == row, (method, name)


@pytest.mark.parametrize("method", RECIPES)
def test_inference_goes_by_the_maps_of_a_method_that_ends_with_them(method):
    options = parse_stage("infer", "--recipe", method)
    ends_with_masks = training_stages(method)[-1].name == "generate_initial_masks"
    assert options.segment_by == ("maps" if ends_with_masks else "trained")


def test_what_makes_a_method_is_above_presets_and_below_the_users_flags():
    # The demo's preset has 5e-4.
    words = ("--recipe", "weakmedsam", "--dataset_type", "demo")
    assert parse_stage("train_classifier", *words).lr == 1e-4
    assert parse_stage("train_classifier", *words, "--lr", "0.01").lr == 0.01
    strong = parse_stage("retrain_decoder", "--recipe", "strong")
    assert (strong.method, strong.n_sample, strong.n_transform) == ("strong", 4, 2)
    plain = parse_stage("retrain_decoder", "--recipe", "strong", "--method", "paper")
    assert (plain.method, plain.n_sample, plain.n_transform) == ("paper", 1, 1)


def test_constants_of_a_method_are_flags_of_its_stages():
    for preset, methods in METHOD_PRESETS.items():
        for method, datasets in methods.items():
            for dataset, rows in datasets.items():
                assert rows.keys() <= set(RECIPES[method]), (preset, method, dataset)
                for name, row in rows.items():
                    names = {field.name for field in fields(STAGES[name].load_options_class())}
                    assert row.keys() <= names, (preset, method, dataset, name)
                    words = ["--dataset_type", dataset or "mine", "--recipe", method]
                    # A value out of a flag's range would end the process.
                    parse(
                        name,
                        STAGES[name].load_options_class(),
                        [*words, "--method_preset", preset],
                    )


def test_short_training_of_a_method_is_for_the_small_datasets_alone():
    def epochs(stage, method, dataset, *words):
        options = parse_stage(stage, "--recipe", method, "--dataset_type", dataset, *words)
        return options.epoch, options.batch_size

    assert epochs("train_segmenter", "unet", "demo") == (12, 4)
    assert epochs("train_segmenter", "wsss_tissue", "ebhi") == (2, 4)
    assert epochs("train_classifier", "wsss_tissue", "mine") == (20, 20)
    assert epochs("train_segmenter", "unet", "mine") == (20, 8)
    assert epochs("train_segmenter", "unet", "demo", "--method_preset", "authors") == (20, 4)


def test_an_unknown_method_is_named_beside_those_that_there_are():
    with pytest.raises(EpsamError, match="METHOD unett: no such method; use ep_sam, strong, unet"):
        recipe_stages("unett")


def test_outputs_are_the_files_of_the_runs_paths(tmp_path):
    run = RunPaths(tmp_path)
    assert list_outputs(tmp_path, "train_classifier") == [run.classifier, run.subclasses]
    masks = list_outputs(tmp_path, "generate_initial_masks")
    assert {run.cams("val").parent, run.mask_rule.parent, run.grid_search} <= set(masks)
    for number in (0, 1, 12):
        assert list_outputs(tmp_path, f"decoder_{number}") == [
            run.round_decoder(number),
            run.pseudo_masks(number),
            run.panels / f"decoder_{number}.png",
        ]
    assert {run.evaluation, run.patch_scores} <= set(list_outputs(tmp_path, "evaluate"))
    assert list_outputs(tmp_path, "train_segmenter") == [run.segmenter, run.gate_classifier]
    assert list_outputs(tmp_path, "report") == [run.report]


@pytest.mark.parametrize(
    ("completion", "stage", "number"),
    [
        ("train_classifier", "train_classifier", None),
        ("decoder_0", "finetune_decoder", 0),
        ("decoder_1", "retrain_decoder", 1),
        ("decoder_10", "retrain_decoder", 10),
    ],
)
def test_a_completion_record_tells_its_stage_and_round(completion, stage, number):
    spec, round_number = stage_of_completion(completion)
    assert (spec.name, round_number) == (stage, number)


@pytest.mark.parametrize("completion", ["decoder_", "decoder_1x", "xdecoder_1", "", "infer"])
def test_other_names_are_no_completion_record_of_a_stage(completion):
    with pytest.raises(KeyError):
        stage_of_completion(completion)


def test_files_of_a_round_are_recognised_by_their_whole_name(tmp_path):
    names = ("decoder_iter2.pth", "decoder_iter10.pth", "decoder_iterx.pth", "decoder_iter3.pth.x")
    for name in names:
        (tmp_path / name).touch()
    assert list(list_round_files(tmp_path, after=2)) == [tmp_path / "decoder_iter10.pth"]


def test_reading_the_list_and_its_options_imports_no_torch():
    code = (
        "import sys\nfrom epsam.pipeline import STAGES\n"
        "for stage in STAGES.values():\n    stage.load_options_class()\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(REPOSITORY, "src"))}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
