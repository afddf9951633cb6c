import dataclasses
import os
import signal

import pytest
import torch

from epsam import pipeline
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse, run_stage
from epsam.config.decoder import BoxDecoderOptions, DecoderOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.flags import flag_name, stored_options
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskOptions
from epsam.config.method_presets import METHOD_PRESETS
from epsam.config.patches import PatchOptions
from epsam.config.presets import METHODS, PRESETS
from epsam.config.segmenter import SegmenterOptions
from epsam.core import terminal
from epsam.core.errors import BusyError, DatasetError, FinishedWorkError, ProcessLostError

STAGES = {name: stage.load_options_class() for name, stage in pipeline.STAGES.items()}


def test_flag_beats_preset_beats_default():
    assert parse("extract_patches", PatchOptions, ["--dataset_type", "mine"]).max_per_bin == (
        500,
        50,
        0,
    )
    assert parse("extract_patches", PatchOptions, ["--dataset_type", "camelyon16"]).max_per_bin == (
        430,
        50,
        143,
    )
    options = parse(
        "extract_patches", PatchOptions, ["--dataset_type", "camelyon16", "--max_per_bin", "1,2,3"]
    )
    assert options.max_per_bin == (1, 2, 3)


def test_defaults_are_the_papers():
    classifier = parse("train_classifier", ClassifierOptions, ["--dataset_type", "camelyon17"])
    assert (classifier.batch_size, classifier.epoch, classifier.lr, classifier.weight_decay) == (
        16,
        50,
        1e-5,
        1e-3,
    )
    assert (classifier.backbone, classifier.adl_positions) == ("resnet50", ("3.0", "4.0"))
    decoder = parse("retrain_decoder", RetrainOptions, ["--dataset_type", "camelyon17"])
    assert (decoder.batch_size, decoder.epoch, decoder.lr) == (4, 20, 2e-4)
    assert (decoder.n_point, decoder.ids_threshold, decoder.n_iter) == (50, 0.9, 3)
    assert decoder.sam_model_type == "vit_b"


def test_every_preset_names_real_stages_and_flags():
    for dataset, stages in PRESETS.items():
        for stage, row in stages.items():
            names = {field.name for field in dataclasses.fields(STAGES[stage])}
            assert set(row) <= names, (dataset, stage)


def test_real_tissue_on_a_cpu_needs_no_weights_that_are_not_here():
    ebhi = ["--dataset_type", "ebhi"]
    classifier = parse("train_classifier", ClassifierOptions, ebhi)
    assert (classifier.pretrained, classifier.backbone, classifier.workers) == (
        "none",
        "resnet18",
        0,
    )
    rounds = parse("retrain_decoder", RetrainOptions, ebhi)
    assert (rounds.sam_model_type, rounds.epoch, rounds.n_iter) == ("vit_demo", 6, 2)
    assert parse("evaluate", EvaluateOptions, ebhi).sam_model_type == "vit_demo"


def test_a_method_beats_the_dataset_and_a_flag_beats_the_method(monkeypatch):
    monkeypatch.setitem(METHODS, "strong", {"epoch": 7, "n_sample": 3, "n_transform": 8})
    demo = parse("finetune_decoder", DecoderOptions, ["--dataset_type", "demo"])
    odd = parse(
        "finetune_decoder",
        DecoderOptions,
        ["--dataset_type", "demo", "--method", "strong", "--n_sample", "5"],
    )
    assert demo.epoch != 7
    assert (odd.epoch, odd.n_sample, odd.n_transform) == (7, 5, 8)
    assert (odd.sam_model_type, odd.patience) == ("vit_demo", demo.patience)


def test_constants_of_a_method_lie_between_dataset_and_flags(monkeypatch):
    in_general = {"train_segmenter": {"epoch": 60, "lr": 0.5, "batch_size": 3}}
    on_the_demo = {"train_segmenter": {"lr": 0.25}}
    authors = {"": {"train_segmenter": {"epoch": 20}}, "demo": {"train_segmenter": {"epoch": 21}}}
    monkeypatch.setitem(METHOD_PRESETS["default"], "unet", {"": in_general, "demo": on_the_demo})
    monkeypatch.setitem(METHOD_PRESETS["authors"], "unet", authors)

    def values(*flags):
        options = parse("train_segmenter", SegmenterOptions, list(flags))
        return options.epoch, options.lr, options.batch_size

    default = (20, 1e-4, 8)
    demo = PRESETS["demo"]["train_segmenter"]
    assert values("--dataset_type", "mine") == default
    assert values("--dataset_type", "mine", "--recipe", "deeplab") == default
    assert values("--dataset_type", "mine", "--recipe", "unet") == (60, 0.5, 3)
    assert values("--recipe", "unet") == (demo["epoch"], 0.25, 3)
    asked_for = ("--recipe", "unet", "--method_preset", "authors")
    assert values("--dataset_type", "mine", *asked_for) == (20, 0.5, 3)
    assert values(*asked_for) == (21, 0.25, 3)
    assert values(*asked_for, "--epoch", "2", "--lr", "1") == (2, 1, 3)


def test_the_authors_constants_of_the_compared_methods():
    """Paper Table 2, as the authors' research scripts have it."""
    authors = ["--method_preset", "authors", "--dataset_type"]
    unet = parse("train_segmenter", SegmenterOptions, [*authors, "mine", "--recipe", "unet"])
    assert (unet.batch_size, unet.epoch, unet.lr, unet.weight_decay) == (4, 20, 2e-4, 1e-3)
    assert (unet.encoder, unet.pretrained, unet.patience) == ("resnet50", "imagenet", 10)

    pseudo = parse(
        "train_segmenter", SegmenterOptions, [*authors, "mine", "--recipe", "unet_pseudo"]
    )
    assert (pseudo.batch_size, pseudo.lr) == (4, 2e-4)
    words = [*authors, "mine", "--recipe", "medsam_box"]
    medsam = parse("train_box_decoder", BoxDecoderOptions, words)
    assert (medsam.medsam_pixels, medsam.lr, medsam.weight_decay) == ("sam", 2e-4, 1e-2)

    def rule(method, dataset):
        words = [*authors, dataset, "--recipe", method]
        options = parse("generate_initial_masks", MaskOptions, words)
        return options.cam, options.quantile, options.open_kernel, options.open_at

    assert rule("gradcam", "camelyon16") == ("gradcam++", 0.2, 75, "image")
    assert rule("gradcam", "camelyon17") == ("gradcam++", 0.3, 5, "cam")
    assert rule("eigencam", "camelyon17") == ("", 0.3, 5, "cam")
    assert rule("adl", "camelyon16") == ("", 0.2, 5, "cam")
    assert rule("enhanced_adl", "camelyon16") == ("", 0.1, 21, "image")
    assert rule("enhanced_adl", "camelyon17") == ("", 0.3, 5, "cam")
    assert rule("ep_sam", "camelyon17") == ("", 0.3, 5, "cam")


def test_a_method_changes_real_flags_and_the_papers_none():
    names = {field.name for field in dataclasses.fields(DecoderOptions)}
    assert not METHODS["paper"]
    assert set(METHODS["strong"]) <= names
    assert parse("retrain_decoder", RetrainOptions, ["--method", "strong"]).n_transform == 2


@pytest.mark.parametrize(
    ("old", "field", "value", "line"),
    [
        (["--n_view", "4"], "n_transform", 4, "--n_view is now --n_transform"),
        (["--n_draw=3"], "n_sample", 3, "--n_draw is now --n_sample"),
        (
            ["--embedding_views", "8"],
            "embedding_transforms",
            8,
            "--embedding_views is now --embedding_transforms",
        ),
        (
            ["--pepm_weight", "activation"],
            "pepm_weight",
            "cam",
            "--pepm_weight activation is now --pepm_weight cam",
        ),
        (
            ["--prompt=truth_random"],
            "prompt",
            "ground_truth_random",
            "--prompt truth_random is now --prompt ground_truth_random",
        ),
        (
            ["--train_prompt", "truth_random"],
            "train_prompt",
            "ground_truth_random",
            "--train_prompt truth_random is now --train_prompt ground_truth_random",
        ),
        (
            ["--select_on", "truth"],
            "select_on",
            "ground_truth",
            "--select_on truth is now --select_on ground_truth",
        ),
    ],
)
def test_an_old_spelling_is_taken_with_one_line_in_the_log(old, field, value, line, caplog):
    options = parse("finetune_decoder", DecoderOptions, old)
    assert getattr(options, field) == value
    assert caplog.messages == [f"{line}; the old spelling goes with the next version"]


def test_an_old_value_of_another_flag_is_left_alone(caplog):
    arguments = ["--run", "ours", "--postprocess", "quantile_opening"]
    options = parse("generate_initial_masks", MaskOptions, arguments)
    assert (options.run, options.postprocess) == ("ours", "quantile_opening")
    assert caplog.messages == []


def test_a_preset_of_a_user_may_have_the_old_spelling(monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", {"generate_initial_masks": {"postprocess": "ours"}})
    monkeypatch.setitem(METHODS, "strong", {"n_draw": 3})
    masks = parse("generate_initial_masks", MaskOptions, ["--dataset_type", "mine"])
    assert masks.postprocess == "quantile_opening"
    assert parse("finetune_decoder", DecoderOptions, ["--method", "strong"]).n_sample == 3


def test_booleans_can_be_switched_both_ways():
    assert parse("infer", InferOptions, ["--no-classifier_gate"]).classifier_gate is False
    assert parse("infer", InferOptions, ["--classifier_gate"]).classifier_gate is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max_per_bin", "1,2"],
        ["--epochs", "3"],
        ["--seed", "x"],
        ["--dev", "cpu"],
        ["--split", "by_moon"],
    ],
)
def test_bad_flags_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        parse("extract_patches", PatchOptions, arguments)
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("stage", "arguments", "message"),
    [
        (
            "generate_initial_masks",
            ["--quantile", "30"],
            "--quantile: 30.0 is out of range, expected 0 to 1",
        ),
        (
            "generate_initial_masks",
            ["--rotations", "0"],
            "--rotations: 0 is out of range, expected 1 to 4",
        ),
        (
            "generate_initial_masks",
            ["--grid_quantiles", "0.5,-1"],
            "--grid_quantiles: -1.0 is out of range",
        ),
        (
            "train_classifier",
            ["--batch_size", "0"],
            "--batch_size: 0 is out of range, expected 1 or more",
        ),
        ("train_classifier", ["--lr", "-1"], "--lr: -1.0 is out of range, expected 0 or more"),
        ("train_classifier", ["--lr", "nan"], "--lr: nan is out of range"),
        ("finetune_decoder", ["--lr", "inf"], "--lr: inf is out of range, expected 0 or more"),
        (
            "finetune_decoder",
            ["--ids_threshold=-inf"],
            "--ids_threshold: -inf is out of range, expected 1 or less",
        ),
        (
            "generate_initial_masks",
            ["--grid_kernels", ""],
            "--grid_kernels: no number given, expected one at least, 0 or more",
        ),
        (
            "generate_initial_masks",
            ["--grid_quantiles", ","],
            "--grid_quantiles: no number given, expected one at least, 0 to 1",
        ),
        (
            "extract_patches",
            ["--max_negative", "5,5,-5"],
            "--max_negative: -5 is out of range, expected 0 or more",
        ),
        (
            "finetune_decoder",
            ["--ids_threshold", "90"],
            "--ids_threshold: 90.0 is out of range, expected 1 or less",
        ),
        ("infer", ["--overlap", "1"], "--overlap: 1.0 is out of range, expected 0 to 0.9"),
    ],
)
def test_a_number_out_of_its_range_ends_with_2_and_one_line(stage, arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        parse(stage, STAGES[stage], arguments)
    assert end.value.code == 2
    assert f"{stage}.py: error: argument {message}" in capsys.readouterr().err.splitlines()[-1]


def test_both_ends_of_a_range_and_values_that_switch_off_are_accepted():
    assert (
        parse(
            "generate_initial_masks", MaskOptions, ["--quantile", "1", "--rotations", "4"]
        ).quantile
        == 1
    )
    decoder = parse(
        "finetune_decoder",
        DecoderOptions,
        ["--ids_threshold", "-1", "--patience", "0", "--n_region", "0"],
    )
    assert (decoder.ids_threshold, decoder.patience, decoder.n_region) == (-1, 0, 0)
    assert parse("infer", InferOptions, ["--overlap", "0.9", "--n_point", "0"]).overlap == 0.9
    assert parse("train_classifier", ClassifierOptions, ["--adl_positions", ""]).adl_positions == ()


def test_a_presets_values_are_checked_too(monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "odd", {"infer": {"overlap": 2.0}})
    with pytest.raises(SystemExit):
        parse("infer", InferOptions, ["--dataset_type", "odd"])
    assert "--overlap: 2.0" in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES)
def test_help_has_every_flag_with_default_and_source(stage, capsys):
    with pytest.raises(SystemExit) as end:
        parse(stage, STAGES[stage], ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for field in dataclasses.fields(STAGES[stage]):
        assert flag_name(field) in text
    assert "paper" in text or stage in ("evaluate", "infer", "report")
    assert "spec/" not in text
    assert "methods D" not in text


@pytest.mark.parametrize("stage", STAGES)
def test_help_has_a_heading_for_each_group_of_flags(stage, capsys):
    with pytest.raises(SystemExit):
        parse(stage, STAGES[stage], ["--help"])
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert {"Dataset:", "Data folders:", "Errors:"} <= set(headings)
    # Long lists of flags under one heading are as hard to read as none.
    sizes = [line.startswith("  --") for line in lines].count(True) / len(headings)
    assert sizes < 8


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (DatasetError("folder: nothing\nin it"), 1, "error: folder: nothing in it"),
        (
            OSError(28, "No space left on device", "masks/a.png"),
            1,
            "error: masks/a.png: no space left",
        ),
        (
            OSError(30, "Read-only file system", "checkpoints/a"),
            1,
            "error: checkpoints/a: no permission (Read-only file system); change it, or put data",
        ),
        (KeyboardInterrupt(), 130, "run the same command again"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(raised, code, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["stage"])

    def main(options):
        raise raised

    with pytest.raises(SystemExit) as end:
        run_stage("infer", InferOptions, main)
    assert end.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "flags"),
    [("infer", "--batch_size"), ("finetune_decoder", "--batch_size or --encoder_chunk")],
)
def test_too_little_gpu_memory_ends_with_one_line_that_names_the_flags_to_lower(
    stage, flags, capsys, monkeypatch
):
    monkeypatch.setattr("sys.argv", [stage])

    def main(options):
        raise torch.cuda.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"
        )

    with pytest.raises(SystemExit) as end:
        run_stage(stage, STAGES[stage], main)
    assert end.value.code == 1
    assert (
        capsys.readouterr().err
        == f"error: the GPU's memory is too small (CUDA out of memory); lower {flags}\n"
    )


@pytest.fixture
def _handlers():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handlers")
def test_sigterm_ends_a_stage_like_ctrl_c(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        run_stage("infer", InferOptions, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert end.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_flag_that_is_a_word_of_python_is_read_and_stored_without_its_underscore(caplog):
    options = parse("infer", InferOptions, ["--as", "images"])
    assert options.as_ == "images"
    assert stored_options(options)["as"] == "images"
    assert caplog.text == ""


@pytest.mark.usefixtures("_handlers")
def test_a_stage_locks_its_folder_and_removes_leftovers_of_killed_writers(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["stage"])
    (tmp_path / "masks").mkdir()
    for name in (".a.7.part.png", "a.png", ".hidden.png"):
        (tmp_path / "masks" / name).touch()
    listed = []

    def main(_):
        listed.extend(sorted(path.name for path in (tmp_path / "masks").iterdir()))

    run_stage("infer", InferOptions, main, owns=lambda _: tmp_path)
    assert listed == [".hidden.png", "a.png"]

    def busy(folder, hint):
        raise BusyError(f"{folder}: in use, {hint}")

    monkeypatch.setattr("epsam.config.command_line.exclusive_lock", busy)
    with pytest.raises(SystemExit) as end:
        run_stage("infer", InferOptions, main, owns=lambda _: tmp_path)
    assert end.value.code == 1
    assert "in use, give this one another name" in capsys.readouterr().err
    assert len(listed) == 2


def test_debug_and_bugs_keep_their_traceback(monkeypatch):
    def main(options):
        raise DatasetError("x") if options.debug else RuntimeError("a bug")

    monkeypatch.setattr("sys.argv", ["stage", "--debug"])
    with pytest.raises(DatasetError):
        run_stage("infer", InferOptions, main)
    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(RuntimeError, match="a bug"):
        run_stage("infer", InferOptions, main)


def test_a_flag_may_be_called_as_a_word_of_python(capsys):
    assert parse("infer", InferOptions, ["--as", "images"]).as_ == "images"
    with pytest.raises(SystemExit):
        parse("infer", InferOptions, ["--as", "films"])
    assert "--as" in capsys.readouterr().err


def test_a_gate_threshold_is_a_probability(capsys):
    with pytest.raises(SystemExit):
        parse("infer", InferOptions, ["--gate_threshold", "5"])
    assert "--gate_threshold: 5.0 is out of range" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [True, False])
def test_a_yes_at_the_terminal_is_a_replace(monkeypatch, capsys, answer):
    questions, options_of_calls = [], []

    def confirm(question):
        questions.append(question)
        return answer

    def main(options):
        options_of_calls.append(options.replace)
        if not options.replace:
            raise FinishedWorkError("this would replace decoder_0 (lr 0.1 → 0.2)", "do so and so")

    monkeypatch.setattr(terminal, "confirm", confirm)
    monkeypatch.setattr("sys.argv", ["finetune_decoder.py"])
    if answer:
        run_stage("finetune_decoder", DecoderOptions, main)
    else:
        with pytest.raises(SystemExit) as end:
            run_stage("finetune_decoder", DecoderOptions, main)
        assert end.value.code == 1
        message = "error: this would replace decoder_0 (lr 0.1 → 0.2); do so and so\n"
        assert capsys.readouterr().err == message
    assert questions == ["this would replace decoder_0 (lr 0.1 → 0.2). Replace it?"]
    assert options_of_calls == ([False, True] if answer else [False])


def test_a_stage_that_does_not_share_its_work_refuses_several_processes(monkeypatch, capsys):
    for name, number in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(number))
    monkeypatch.setattr("sys.argv", ["infer.py"])
    with pytest.raises(SystemExit, match="1"):
        run_stage("infer", InferOptions, lambda _: pytest.fail("it runs"))
    assert capsys.readouterr().err == (
        "error: infer: runs in one process, not in 2; start it alone\n"
    )


def test_a_process_whose_others_have_ended_says_nothing(monkeypatch, capsys):
    def lose_others(_):
        raise ProcessLostError("another process of this stage has ended")

    monkeypatch.setattr("sys.argv", ["infer.py"])
    with pytest.raises(SystemExit, match="75"):
        run_stage("infer", InferOptions, lose_others)
    assert capsys.readouterr().err == ""
