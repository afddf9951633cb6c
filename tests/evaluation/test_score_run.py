from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from epsam.config.decoder import SelectionOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import merge_fields
from epsam.config.sam import PromptOptions
from epsam.core.checkpoints import save_plain
from epsam.core.errors import WeightsError
from epsam.core.files import write_json
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.evaluation import predictors as predictors_module
from epsam.evaluation.classification import Classification, classify_splits
from epsam.evaluation.predictors import (
    InitialMasks,
    SamPredictors,
    check_decoders,
    list_decoders,
    metadata_by_predictor,
    prompt_options_by_predictor,
)
from epsam.evaluation.score_run import (
    Evaluation,
    NegativeCounts,
    PatchScore,
    SplitCase,
    SplitScores,
    score_splits,
    select_extreme_patches,
)
from epsam.metrics import PixelCounts
from epsam.paths import RunPaths
from epsam.pseudo_labels.selection import IdsSelection
from epsam.tables import (
    ALL_FILLED,
    ALL_PATCH_COLUMNS,
    FILL,
    INITIAL,
    PRELIMINARY,
    ZERO_SHOT,
)
from epsam.training.decoder import PromptedPatch
from support import arrays

SIDE = 8


block = partial(arrays.block, SIDE)

GROUND_TRUTH, INITIAL_MASK = block(slice(0, 4), slice(0, 8)), block(slice(0, 8), slice(0, 4))
INSIDE, OUTSIDE = block(slice(0, 4), slice(0, 4)), block(slice(0, 4), slice(4, 8))


class FixedPredictor:
    """A predictor of no method that the house knows."""

    def __init__(self, name=ZERO_SHOT):
        self.name = name

    def masks(self, split, patches):
        return [INSIDE, OUTSIDE][: len(patches)]


@pytest.fixture
def make_evaluation(tmp_path):
    def make(split, *predictors):
        run, prompted = RunPaths(tmp_path / "run"), []
        for name in ("a_1", "b_1"):
            image, mask = tmp_path / "image" / f"{name}.png", tmp_path / "mask" / f"{name}.png"
            write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
            write_mask(mask, GROUND_TRUTH)
            write_mask(run.initial_masks(split) / f"{name}.png", INITIAL_MASK)
            prompted.append(PromptedPatch(Patch(name, 1, image, mask), ()))
        patches = [item.patch for item in prompted]
        case = SplitCase(split, patches, {INITIAL: prompted, ZERO_SHOT: prompted}, None)
        selection = {ZERO_SHOT: IdsSelection(0.9, 0.0)}
        return Evaluation(run, [case], [InitialMasks(run), *predictors], selection)

    return make


def methods_alone(scores):
    return [of_split for of_split in scores if of_split.predictor not in (FILL, ALL_FILLED)]


def test_train_rows_state_what_the_filter_would_accept(make_evaluation):
    scores = methods_alone(score_splits(make_evaluation("train", FixedPredictor())))
    rows = [split_scores.summary_row() for split_scores in scores]
    patch_rows = [row for split_scores in scores for row in split_scores.patch_rows()]
    assert [row["what"] for row in rows] == [INITIAL, ZERO_SHOT]
    # Initial mask: 16 of 32 true pixels, 32 marked: Dice 1/2. Both decoded masks: 16 of 32, 16
    # marked: 2/3, IoU 1/2.
    assert rows[0]["dice"] == pytest.approx(0.5, abs=1e-4)
    assert "kept" not in rows[0]
    assert (rows[1]["dice"], rows[1]["iou"]) == pytest.approx((2 / 3, 0.5), abs=1e-4)
    # Only the first lies inside the initial mask.
    assert rows[1]["kept"] == 0.5
    assert rows[1]["kept_dice"] == pytest.approx(2 / 3, abs=1e-4)
    assert [(row["what"], row["id"]) for row in patch_rows] == [
        (INITIAL, "a_1"),
        (INITIAL, "b_1"),
        (ZERO_SHOT, "a_1"),
        (ZERO_SHOT, "b_1"),
    ]
    assert [float(row["dice"]) for row in patch_rows] == pytest.approx(
        [0.5, 0.5, 2 / 3, 2 / 3], abs=1e-4
    )


def test_each_decoder_is_filtered_as_in_its_own_training(make_evaluation):
    evaluation = make_evaluation("train", FixedPredictor(), FixedPredictor("round 1"))
    # The second mask has no pixel in common with the initial one: IDS 0.
    selection = {**evaluation.selection, "round 1": IdsSelection(-1, 0.0)}
    scores = score_splits(replace(evaluation, selection=selection))
    rows = {split_scores.predictor: split_scores.summary_row() for split_scores in scores}
    assert (rows[ZERO_SHOT]["kept"], rows["round 1"]["kept"]) == (0.5, 1)


def test_nothing_is_filtered_without_a_selection(make_evaluation):
    evaluation = make_evaluation("train", FixedPredictor("U-Net"))
    row = score_splits(evaluation)[-1].summary_row()
    assert (row["what"], "kept" in row) == ("U-Net", False)
    assert evaluation.last_predictor.name == "U-Net"


def test_a_filter_that_accepts_nothing_has_no_dice(make_evaluation):
    evaluation = make_evaluation("train", FixedPredictor())
    selection = {ZERO_SHOT: IdsSelection(1, 0.0)}
    row = score_splits(replace(evaluation, selection=selection))[-1].summary_row()
    assert (row["kept"], row["kept_dice"]) == (0, "")


def test_metadata_that_a_decoder_lacks_is_that_of_the_preliminary_one(run_and_metadata):
    metadata = metadata_by_predictor(*run_and_metadata)
    selection = {
        predictor: merge_fields(SelectionOptions, trained_with)
        for predictor, trained_with in metadata.items()
    }
    assert selection == {
        **dict.fromkeys((INITIAL, ZERO_SHOT, PRELIMINARY), SelectionOptions("ids", 0.8, 0.1)),
        "round 1": SelectionOptions("ids", 0.95, 0.1),
    }


def test_other_splits_have_no_filter_and_a_run_of_masks_alone_is_scored(make_evaluation):
    scores = score_splits(make_evaluation("val", FixedPredictor()))
    assert all("kept" not in split_scores.summary_row() for split_scores in scores)
    scores = score_splits(make_evaluation("val"))
    assert [split_scores.predictor for split_scores in scores] == [FILL, ALL_FILLED, INITIAL]


def classified(probabilities, threshold=0.5):
    """The two patches of `make_evaluation`, and negatives: their tumour probability by name."""
    patches = [Patch(name, int(name[-1]), None, None) for name in probabilities]
    return Classification("test", patches, probabilities, threshold)


def test_all_patches_are_scored_with_the_negatives_that_the_gate_lets_pass(make_evaluation):
    evaluation = make_evaluation("test", FixedPredictor())
    probabilities = {"a_1": 0.9, "b_1": 0.4, "c_0": 0.6, "d_0": 0.1, "e_0": 0.5}
    # FixedPredictor marks 16 px in each of the two that pass; d_0 stays empty.
    passed = evaluation.cases[0]
    evaluation = replace(
        evaluation,
        classifications={"test": classified(probabilities)},
        passed_negatives={"test": replace(passed, split="test")},
    )
    rows = {s.predictor: s.summary_row() for s in score_splits(evaluation)}
    row = rows[ZERO_SHOT]
    # Positives: 16 of 32 true px in each, 16 marked. Negatives: 2 × 16 of 3 × 64 px marked.
    assert (row["patches"], row["negatives"], row["all_patches"]) == (2, 3, 5)
    assert row["all_iou"] == pytest.approx(32 / (32 + 32 + 64 - 32), abs=1e-4)
    assert (row["precision"], row["recall"]) == (0.5, 0.5)
    assert row["false_positive_area"] == pytest.approx(32 / 192, abs=1e-6)
    # By image: Dice 2 · 16 / 48 of the positives, 0 of two negatives; d_0 counts apart.
    assert (row["images"], row["both_empty"]) == (4, 1)
    assert row["image_dice"] == pytest.approx(2 * (2 / 3) / 4, abs=1e-6)
    assert row["jaccard"] == pytest.approx(2 * (1 / 2) / 4, abs=1e-6)
    # The gate lets one of two positives pass, and two of three negatives.
    assert (row["positives"], row["sensitivity"]) == (2, 0.5)
    assert row["specificity"] == pytest.approx(1 / 3, abs=1e-6)
    # Of six pairs of a positive and a negative, a_1 wins three and b_1 one.
    assert row["auroc"] == pytest.approx(4 / 6, abs=1e-6)

    # Filled by label: 128 px marked, 64 of them true. Everything filled: 320 px marked.
    fill, everything = rows[FILL], rows[ALL_FILLED]
    assert (fill["all_iou"], fill["precision"]) == (pytest.approx(0.5, abs=1e-4), 0.5)
    assert (fill["false_positive_area"], fill["recall"], "auroc" in fill) == (0.0, 1.0, False)
    assert everything["all_iou"] == pytest.approx(64 / 320, abs=1e-4)
    assert (everything["false_positive_area"], everything["dice"]) == (1.0, fill["dice"])
    assert fill["dice"] == pytest.approx(2 * 32 / (64 + 32), abs=1e-4)
    assert (fill["images"], fill["both_empty"]) == (2, 3)
    assert (everything["images"], everything["both_empty"]) == (5, 0)


def test_without_a_gate_all_negatives_pass_and_without_negatives_nothing_is_marked():
    probabilities = {"a_1": 0.9, "b_0": 0.0, "c_0": 0.2}
    assert len(classified(probabilities, threshold=0.0).passed_negatives()) == 2
    assert classified(probabilities).passed_negatives() == []
    row = SplitScores(
        "test",
        "x",
        [PatchScore("a_1", PixelCounts(5, 10, 10))],
        NegativeCounts(0, 0, 0),
        classified({"a_1": 0.9}),
    ).summary_row()
    assert (row["all_patches"], row["false_positive_area"]) == (1, "")
    assert (row["auroc"], row["specificity"], row["sensitivity"]) == ("", "", 1.0)
    assert row["all_iou"] == row["pooled_iou"]


def test_without_the_classifier_of_the_masks_nothing_is_classified_and_a_warning_says_so(
    tmp_path, caplog
):
    run = RunPaths(tmp_path / "run")
    write_json(run.mask_rule, {"classifier_sha256": "x", "classifier_file": "gone.pth"})
    patches = {"val": [Patch("a_1", 1, None, None)]}
    options = EvaluateOptions(device="cpu", precision="fp32")
    assert classify_splits(options, run, patches, SIDE) == {}
    assert "gone.pth: missing" in caplog.text
    assert "negatives and the classifier are not scored" in caplog.text


def test_the_columns_of_older_tables_stay_without_a_classification(make_evaluation):
    scores = score_splits(make_evaluation("test", FixedPredictor()))
    for of_split in scores:
        assert not set(of_split.summary_row()) & set(ALL_PATCH_COLUMNS)


@pytest.fixture
def run_and_metadata(tmp_path):
    """A preliminary decoder trained with 5 points in one transform, and a round 1 with 3 and 2
    negative ones in two; round 1 is filtered more strictly. The metadata are of the former.
    """
    run = RunPaths(tmp_path)
    metadata = {"prompt": "uniform", "n_point": 5, "ids_threshold": 0.8, "min_area_ratio": 0.1}
    save_plain(run.preliminary_decoder, {"made_with": metadata})
    save_plain(
        run.round_decoder(1),
        {"made_with": {"n_point": 3, "n_negative": 2, "n_view": 2, "ids_threshold": 0.95}},
    )
    return run, metadata


def test_each_decoder_is_prompted_as_in_its_own_training(run_and_metadata):
    metadata = metadata_by_predictor(*run_and_metadata)
    options = prompt_options_by_predictor(metadata, {})
    assert list(options) == [INITIAL, ZERO_SHOT, PRELIMINARY, "round 1"]
    first, of_round = PromptOptions(prompt="uniform", n_point=5), options["round 1"]
    assert [options[name] for name in (INITIAL, ZERO_SHOT, PRELIMINARY)] == [first] * 3
    assert (of_round.prompt, of_round.n_point) == ("uniform", 3)
    assert (of_round.n_negative, of_round.n_transform) == (2, 2)
    overridden = prompt_options_by_predictor(metadata, {"n_point": 7})
    assert {options.n_point for options in overridden.values()} == {7}
    assert list(metadata_by_predictor(run_and_metadata[0], {})) == [INITIAL]


def test_prompts_are_padded_to_the_points_of_the_decoder_in_use(run_and_metadata, monkeypatch):
    padded = []
    segmenter = SimpleNamespace(
        sam=None, padded_to=lambda count: padded.append(count) or "segmenter"
    )
    monkeypatch.setattr(predictors_module, "load_decoder", lambda path, sam: None)
    monkeypatch.setattr(
        predictors_module, "predict_probabilities", lambda segmenter, *_: [(None, segmenter)]
    )
    predictors = SamPredictors(
        SimpleNamespace(segmenter=segmenter, embeddings=None),
        list_decoders(run_and_metadata[0]),
        prompt_options_by_predictor(metadata_by_predictor(*run_and_metadata), {}),
        {},
        4,
    )
    assert list(predictors.predict_probabilities(PRELIMINARY, [])) == ["segmenter"]
    assert list(predictors.predict_probabilities("round 1", [])) == ["segmenter"]
    assert padded == [5, 3 + 2]


@pytest.mark.parametrize(
    ("trained_with", "message"),
    [
        (("vit_h", "a"), "sam_pre_decoder.pth: trained with vit_h, not vit_demo; give --sam_model"),
        (("vit_demo", "b"), "trained with other weights of vit_demo than .*sam.pth; give them by"),
    ],
)
def test_decoders_of_another_sam_are_refused(tmp_path, trained_with, message):
    # The decoders of all official SAMs have the same shapes: its scores would be of no use.
    run = RunPaths(tmp_path)
    name, checksum = trained_with
    metadata = {"sam_model_type": name, "sam_sha256": checksum}
    save_plain(run.preliminary_decoder, {"made_with": metadata})
    (tmp_path / "sam.pth").write_bytes(b"a")
    options = EvaluateOptions(sam_model_type="vit_demo", sam_checkpoint=str(tmp_path / "sam.pth"))
    with pytest.raises(WeightsError, match=message):
        check_decoders(run, options)


def test_decoders_of_the_same_sam_and_runs_without_any_pass(tmp_path):
    run = RunPaths(tmp_path)
    (tmp_path / "sam.pth").write_bytes(b"a")
    options = EvaluateOptions(sam_model_type="vit_demo", sam_checkpoint=str(tmp_path / "sam.pth"))
    check_decoders(run, options)
    metadata = {
        "sam_model_type": "vit_demo",
        "sam_sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    }
    save_plain(run.preliminary_decoder, {"made_with": metadata})
    check_decoders(run, options)


def scores_with_dice(**dice):
    """Patches with the given Dice, each of 100 predicted and 100 true pixels."""
    patches = []
    for name, value in dice.items():
        patches.append(PatchScore(name, PixelCounts(round(100 * value), 100, 100)))
    return SplitScores("test", "round 1", patches)


def test_a_row_has_the_macro_average_over_patches_and_the_micro_average():
    patches = [
        PatchScore("a", PixelCounts(10, 10, 10)),
        PatchScore("b", PixelCounts(0, 90, 90)),
    ]
    row = SplitScores("val", "x", patches).summary_row()
    assert (row["split"], row["what"], row["patches"]) == ("val", "x", 2)
    assert row["dice"] == pytest.approx(0.5, abs=1e-5)
    assert row["pooled_dice"] == pytest.approx(20 / 200, abs=1e-5)
    assert row["pooled_iou"] == pytest.approx(10 / 190, abs=1e-5)


def test_every_patch_has_a_row():
    rows = scores_with_dice(a=0.5, b=1.0).patch_rows()
    assert [(row["id"], row["dice"]) for row in rows] == [
        ("a", pytest.approx(0.5, abs=1e-5)),
        ("b", 1.0),
    ]


def test_extreme_patches_are_lowest_middle_highest_and_none_twice():
    dice = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.2, "e": 0.8, "f": 0.4, "g": 1.0}
    assert select_extreme_patches(scores_with_dice(**dice)) == ["b", "d", "f", "c", "a", "g"]
    assert select_extreme_patches(scores_with_dice(x=0.3, y=0.2)) == ["y", "x"]
    assert select_extreme_patches(SplitScores("test", "x", [])) == []
