from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from epsam.config.decoder import SelectionOptions
from epsam.config.metadata import merge_fields
from epsam.config.sam import PromptOptions
from epsam.core.checkpoints import save_plain
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.evaluation import score_run as evaluation_module
from epsam.evaluation.score_run import (
    Evaluation,
    SamPredictors,
    SplitCase,
    SplitScores,
    decoders_of,
    extreme_cases,
    metadata_by_predictor,
    prompt_options_of,
    score_all,
)
from epsam.metrics import PixelCounts
from epsam.paths import RunPaths
from epsam.tables import INITIAL, PRELIMINARY, ZERO_SHOT
from epsam.training.decoder import PromptedPatch

SIDE = 8


def block(rows, columns):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[rows, columns] = True
    return mask


TRUTH, INITIAL_MASK = block(slice(0, 4), slice(0, 8)), block(slice(0, 8), slice(0, 4))
INSIDE, OUTSIDE = block(slice(0, 4), slice(0, 4)), block(slice(0, 4), slice(4, 8))


class FixedDecoders:
    def __init__(self):
        self.files = {ZERO_SHOT: None}

    def masks(self, what, asked):
        return [INSIDE, OUTSIDE][: len(asked)]


@pytest.fixture
def evaluation(tmp_path):
    def of(split, decoders):
        run, asked = RunPaths(tmp_path / "run"), []
        for name in ("a_1", "b_1"):
            image, truth = tmp_path / "image" / f"{name}.png", tmp_path / "mask" / f"{name}.png"
            write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
            write_mask(truth, TRUTH)
            write_mask(run.initial_masks(split) / f"{name}.png", INITIAL_MASK)
            asked.append(PromptedPatch(Patch(name, 1, image, truth), ()))
        case = SplitCase(split, {INITIAL: asked, ZERO_SHOT: asked}, None)
        return Evaluation(
            run, [case], decoders, {INITIAL: SelectionOptions(), ZERO_SHOT: SelectionOptions()}
        )

    return of


def test_train_rows_tell_what_the_filter_would_keep(evaluation):
    found = score_all(evaluation("train", FixedDecoders()))
    rows, scores = [one.row() for one in found], [row for one in found for row in one.patch_rows()]
    assert [row["what"] for row in rows] == [INITIAL, ZERO_SHOT]
    # Initial mask: 16 of 32 true pixels, 32 marked: Dice 1/2. Both decoded masks: 16 of 32, 16
    # marked: 2/3, IoU 1/2.
    assert rows[0]["dice"] == pytest.approx(0.5, abs=1e-4)
    assert "kept" not in rows[0]
    assert (rows[1]["dice"], rows[1]["iou"]) == pytest.approx((2 / 3, 0.5), abs=1e-4)
    # Only the first lies inside the initial mask.
    assert rows[1]["kept"] == 0.5
    assert rows[1]["kept_dice"] == pytest.approx(2 / 3, abs=1e-4)
    assert [(s["what"], s["id"]) for s in scores] == [
        (w, i) for w in (INITIAL, ZERO_SHOT) for i in ("a_1", "b_1")
    ]
    assert [float(s["dice"]) for s in scores] == pytest.approx([0.5, 0.5, 2 / 3, 2 / 3], abs=1e-4)


def test_each_decoder_has_its_own_filter(evaluation):
    case = evaluation("train", FixedDecoders())
    case.decoders.files["round 1"] = None
    case.cases[0].asked["round 1"] = case.cases[0].asked[ZERO_SHOT]
    # The second mask has no pixel in common with the initial one: IDS 0.
    selection = {**case.selection, "round 1": SelectionOptions(ids_threshold=-1)}
    rows = {one.what: one.row() for one in score_all(replace(case, selection=selection))}
    assert (rows[ZERO_SHOT]["kept"], rows["round 1"]["kept"]) == (0.5, 1)


def test_what_a_decoder_does_not_tell_is_as_for_the_preliminary_one(decoders):
    made = {
        what: merge_fields(SelectionOptions, facts)
        for what, facts in metadata_by_predictor(*decoders).items()
    }
    assert made == {
        **dict.fromkeys((INITIAL, ZERO_SHOT, PRELIMINARY), SelectionOptions(0.8, 0.1)),
        "round 1": SelectionOptions(0.95, 0.1),
    }


def test_other_splits_have_no_filter_and_a_run_of_masks_alone_is_scored(evaluation):
    assert all("kept" not in found.row() for found in score_all(evaluation("val", FixedDecoders())))
    assert [found.what for found in score_all(evaluation("val", None))] == [INITIAL]


@pytest.fixture
def decoders(tmp_path):
    """A preliminary decoder made with 5 points in one view, and a round 1 kept with 3 and 2
    negative ones in two; round 1 is filtered more strictly.
    """
    run, facts = (
        RunPaths(tmp_path),
        {"prompt": "uniform", "n_point": 5, "ids_threshold": 0.8, "min_area_ratio": 0.1},
    )
    save_plain(run.preliminary_decoder, {"made_with": facts})
    save_plain(
        run.round_decoder(1),
        {"made_with": {"n_point": 3, "n_negative": 2, "n_view": 2, "ids_threshold": 0.95}},
    )
    return run, facts


def test_each_decoder_is_asked_as_in_its_own_training(decoders):
    made = metadata_by_predictor(*decoders)
    asking = prompt_options_of(made, {})
    assert list(asking) == [INITIAL, ZERO_SHOT, PRELIMINARY, "round 1"]
    first, own = PromptOptions(prompt="uniform", n_point=5), asking["round 1"]
    assert [asking[what] for what in (INITIAL, ZERO_SHOT, PRELIMINARY)] == [first] * 3
    assert (own.prompt, own.n_point, own.n_negative, own.n_transform) == ("uniform", 3, 2, 2)
    assert {one.n_point for one in prompt_options_of(made, {"n_point": 7}).values()} == {7}
    assert list(metadata_by_predictor(decoders[0], {})) == [INITIAL]


def test_prompts_are_filled_up_to_the_points_of_the_decoder_that_is_asked(decoders, monkeypatch):
    filled = []
    segmenter = SimpleNamespace(
        sam=None, padded_to=lambda count: filled.append(count) or "segmenter"
    )
    monkeypatch.setattr(evaluation_module, "load_decoder", lambda path, sam: None)
    monkeypatch.setattr(
        evaluation_module, "predict_masks", lambda segmenter, *_: [(None, segmenter)]
    )
    found = SamPredictors(
        SimpleNamespace(segmenter=segmenter, embeddings=None),
        decoders_of(decoders[0]),
        prompt_options_of(metadata_by_predictor(*decoders), {}),
        {},
        4,
    )
    assert found.masks(PRELIMINARY, []) == found.masks("round 1", []) == ["segmenter"]
    assert filled == [5, 3 + 2]


def scored(**dice):
    """Patches with the given Dice, each of 100 predicted and 100 true pixels."""
    return SplitScores(
        "test",
        "round 1",
        {name: PixelCounts(round(100 * value), 100, 100) for name, value in dice.items()},
    )


def test_a_row_has_the_mean_over_patches_and_all_pixels_pooled():
    found = SplitScores(
        "val", "x", {"a": PixelCounts(10, 10, 10), "b": PixelCounts(0, 90, 90)}
    ).row()
    assert (found["split"], found["what"], found["patches"]) == ("val", "x", 2)
    assert found["dice"] == pytest.approx(0.5, abs=1e-5)
    assert found["pooled_dice"] == pytest.approx(20 / 200, abs=1e-5)
    assert found["pooled_iou"] == pytest.approx(10 / 190, abs=1e-5)


def test_every_patch_has_a_row():
    rows = scored(a=0.5, b=1.0).patch_rows()
    assert [(row["id"], row["dice"]) for row in rows] == [
        ("a", pytest.approx(0.5, abs=1e-5)),
        ("b", 1.0),
    ]


def test_extreme_cases_are_lowest_middle_highest_and_none_twice():
    dice = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.2, "e": 0.8, "f": 0.4, "g": 1.0}
    assert extreme_cases(scored(**dice)) == ["b", "d", "f", "c", "a", "g"]
    assert extreme_cases(scored(x=0.3, y=0.2)) == ["y", "x"]
    assert extreme_cases(SplitScores("test", "x", {})) == []
