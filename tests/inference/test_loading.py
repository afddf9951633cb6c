from hashlib import sha256

import pytest

from epsam.config.inference import InferOptions
from epsam.core.errors import WeightsError
from epsam.inference import loading
from epsam.inference.loading import find_last_decoder, inference_key
from epsam.paths import RunPaths


def test_the_last_decoder_is_that_of_the_highest_round(tmp_path):
    run = RunPaths(tmp_path)
    with pytest.raises(WeightsError, match="no trained decoder there"):
        find_last_decoder(run)
    # The tenth round comes after the second, though not in the order of names.
    for number in (0, 1, 2, 10):
        run.round_decoder(number).touch()
        assert find_last_decoder(run) == run.round_decoder(number)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The files of classifier, decoder and SAM, each with its name as content."""
    paths = [tmp_path / name for name in ("classifier", "decoder", "sam")]
    for path in paths:
        path.write_text(path.name)
    monkeypatch.setattr(loading, "find_weights", lambda options: tuple(paths))
    return paths


def test_where_weights_lie_and_how_results_are_computed_changes_no_key(weights):
    key = inference_key(InferOptions())
    other = InferOptions(
        output_dir="o", batch_size=9, sam_checkpoint="s", resnet_checkpoint="r", device="cpu"
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
