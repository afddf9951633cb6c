from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from epsam.config.inference import InferOptions
from epsam.core.checkpoints import save_plain
from epsam.core.errors import WeightsError
from epsam.inference import weights as weights_module
from epsam.inference.weights import find_last_decoder, inference_key, resolve_sam_model_type
from epsam.paths import RunPaths


def test_the_last_decoder_is_that_of_the_highest_round(tmp_path):
    run = RunPaths(tmp_path)
    with pytest.raises(WeightsError, match="no trained decoder there"):
        find_last_decoder(run)
    # The tenth round comes after the second, though not in the order of names.
    for number in (0, 1, 2, 10):
        run.round_decoder(number).touch()
        assert find_last_decoder(run) == run.round_decoder(number)


def test_a_run_that_ends_at_its_initial_masks_is_told_how_they_segment(tmp_path):
    run = RunPaths(tmp_path)
    run.mask_rule.parent.mkdir(parents=True)
    run.mask_rule.write_text("{}")
    with pytest.raises(WeightsError, match="no trained decoder there.*--segment_by maps$"):
        find_last_decoder(run)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The files of classifier, decoder and SAM, each with its name as content."""
    paths = [tmp_path / name for name in ("classifier", "decoder", "sam")]
    for path in paths:
        path.write_text(path.name)
    monkeypatch.setattr(weights_module, "find_weights", lambda options: tuple(paths))
    return paths


def test_where_weights_lie_and_how_results_are_computed_changes_no_key(weights):
    key = inference_key(InferOptions())
    other = InferOptions(
        output_dir="o",
        batch_size=9,
        sam_checkpoint="s",
        sam_model_type="vit_l",
        resnet_checkpoint="r",
        device="cpu",
        as_="images",
    )
    assert inference_key(other) == key
    weights[1].write_text("trained again")
    assert inference_key(InferOptions()).why_stale(key.record()) == "decoder changed"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"n_sample": 2}, "n_sample 0 → 2"),
        ({"classifier_gate": False}, "classifier_gate True → False"),
        ({"overlap": 0.5, "asap": True}, "asap False → True, overlap 0.25 → 0.5"),
    ],
)
def test_results_of_other_options_are_stale_and_the_reason_names_them(weights, changed, reason):
    before = inference_key(InferOptions()).record()
    assert inference_key(InferOptions(**changed)).why_stale(before) == reason


def test_the_fingerprint_of_version_0_1_is_recognised(weights):
    lines = [
        "seed=22",
        "n_point=0",
        "n_draw=0",
        "n_view=0",
        "classifier_gate=True",
        "gate_threshold=0.5",
        "overlap=0.25",
        "mpp=0.0",
        "slide_mpp=0.0",
        "min_tissue=0.01",
        "clip_to_tissue=True",
        "min_region=0.0",
        "asap=False",
        "dataset_type=demo",
        *[sha256(path.name.encode()).hexdigest() for path in weights],
    ]
    fingerprint = sha256("\n".join(lines).encode()).hexdigest()
    assert inference_key(InferOptions()).why_stale({"fingerprint": fingerprint}) == ""
    assert inference_key(InferOptions(seed=1)).why_stale({"fingerprint": fingerprint}) != ""


def test_the_sam_of_a_run_is_that_of_its_decoder_unless_set_by_flag(tmp_path):
    save_plain(
        tmp_path / "mine" / "sam_pre_decoder.pth", {"made_with": {"sam_model_type": "vit_l"}}
    )
    options = InferOptions(dataset_type="demo", run="mine", checkpoint_root=str(tmp_path))
    assert resolve_sam_model_type(options).sam_model_type == "vit_l"
    chosen = replace(options, sam_model_type="vit_h")
    assert resolve_sam_model_type(chosen).sam_model_type == "vit_h"


@pytest.mark.parametrize(("dataset", "model_type"), [("demo", "vit_demo"), ("mine", "vit_b")])
def test_the_preset_stands_in_for_a_decoder_of_the_published_code(tmp_path, dataset, model_type):
    save_plain(tmp_path / "decoder.pth", {"weight": torch.zeros(1)})
    options = InferOptions(
        dataset_type=dataset, sam_decoder_checkpoint=str(tmp_path / "decoder.pth")
    )
    assert resolve_sam_model_type(options).sam_model_type == model_type
