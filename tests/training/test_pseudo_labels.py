from functools import partial

import numpy as np
import pytest

from epsam.config.decoder import DecoderOptions
from epsam.core.errors import TrainingError
from epsam.core.files import read_table
from epsam.data.images import read_mask, read_probability, write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.tables import PSEUDO_LABEL_COLUMNS
from epsam.training.decoder import PromptedPatch
from epsam.training.pseudo_labels import write_pseudo_labels
from epsam.training.round_data import load_accepted_examples, load_initial_examples
from support import arrays

SIDE = 8


class FixedSegmenter:
    """Stands for SAM: predicts a fixed mask for each patch, so that scores can be calculated by
    hand.
    """

    def __init__(self, masks, certainty=0.9):
        self._masks = masks
        self._certainty = np.float32(certainty)

    def predict_probabilities(self, embeddings, prompts):
        return np.stack([self._masks[name] * self._certainty for name in embeddings])


block = partial(arrays.block, SIDE)


@pytest.fixture
def run(tmp_path):
    return RunPaths(tmp_path / "run")


@pytest.fixture
def patches(tmp_path, run):
    patches = []
    for name in ("a_1", "b_1", "c_1"):
        image, ground_truth = tmp_path / "image" / f"{name}.png", tmp_path / "mask" / f"{name}.png"
        write_rgb(image, np.zeros((SIDE, SIDE, 3), np.uint8))
        # Initial mask and ground truth differ, so that taking one for the other is noticed.
        write_mask(ground_truth, block(slice(0, 8), slice(0, 4)))
        write_mask(run.initial_masks("train") / f"{name}.png", block(slice(0, 4), slice(0, 8)))
        patches.append(Patch(name, 1, image, ground_truth))
    return patches


def write(number, run, patches, masks, certainty=0.9, **options):
    prompts = ((0, (SamPrompt(np.zeros((5, 3), np.float32)),)),)
    return write_pseudo_labels(
        number,
        run,
        FixedSegmenter(masks, certainty),
        lambda patch, transform: patch.name,
        [PromptedPatch(patch, prompts) for patch in patches],
        DecoderOptions(**options),
    )


INSIDE, HALF_OUT, EMPTY = (
    block(slice(0, 2), slice(0, 8)),
    block(slice(2, 6), slice(0, 8)),
    block([], []),
)


def test_only_labels_inside_the_initial_mask_are_accepted(run, patches):
    summary = write(0, run, patches, {"a_1": INSIDE, "b_1": HALF_OUT, "c_1": EMPTY})
    assert [p.name for p in sorted(run.pseudo_masks(0).iterdir())] == ["a_1.png"]
    assert np.array_equal(read_mask(run.pseudo_masks(0) / "a_1.png"), INSIDE)
    rows = read_table(run.pseudo_labels, PSEUDO_LABEL_COLUMNS)
    assert [(r["id"], float(r["ids"]), float(r["area_ratio"]), r["accepted"]) for r in rows] == [
        ("a_1", 1.0, 0.5, "1"),
        ("b_1", 0.5, 1.0, "0"),
        ("c_1", 0.0, 0.0, "0"),
    ]
    assert summary.acceptance == pytest.approx(1 / 3)
    # Of 32 tumour pixels, inside has 8 right of 16: Dice 16/48. Half out: 16 right of 32: 32/64.
    # Empty: 0.
    assert summary.dice_accepted == pytest.approx(1 / 3, abs=1e-4)
    assert summary.dice_all == pytest.approx((1 / 3 + 1 / 2) / 3, abs=1e-4)


@pytest.mark.parametrize(("certainty", "accepted"), [(0.45, []), (0.55, ["a_1.png"])])
def test_a_pseudo_label_is_where_tumour_is_more_likely_than_not(run, patches, certainty, accepted):
    write(0, run, patches, {"a_1": INSIDE, "b_1": EMPTY, "c_1": EMPTY}, certainty)
    assert [path.name for path in run.pseudo_masks(0).iterdir()] == accepted


def test_writing_a_round_again_leaves_no_stale_mask_and_rows_of_later_rounds_in_place(run, patches):
    write(0, run, patches, {"a_1": INSIDE, "b_1": INSIDE, "c_1": INSIDE})
    write(1, run, patches, {"a_1": INSIDE, "b_1": INSIDE, "c_1": INSIDE})
    write(0, run, patches, {"a_1": EMPTY, "b_1": INSIDE, "c_1": EMPTY})
    assert [p.name for p in run.pseudo_masks(0).iterdir()] == ["b_1.png"]
    rows = read_table(run.pseudo_labels, PSEUDO_LABEL_COLUMNS)
    assert [row["round"] for row in rows] == ["0"] * 3 + ["1"] * 3


def test_replace_takes_the_last_round_and_accumulate_the_newest_accepted_mask(run, patches):
    write(0, run, patches, {"a_1": INSIDE, "b_1": INSIDE, "c_1": EMPTY})
    write(1, run, patches, {"a_1": EMPTY, "b_1": INSIDE, "c_1": EMPTY})
    replaced = load_accepted_examples(2, run, patches, "replace")
    assert [(e.patch.name, e.target.parent.name) for e in replaced] == [("b_1", "iter_1")]
    accumulated = load_accepted_examples(2, run, patches, "accumulate")
    assert [(e.patch.name, e.target.parent.name) for e in accumulated] == [
        ("a_1", "iter_0"),
        ("b_1", "iter_1"),
    ]


def test_no_accepted_label_is_an_error_that_says_what_to_do(run, patches):
    write(0, run, patches, {"a_1": EMPTY, "b_1": EMPTY, "c_1": HALF_OUT})
    with pytest.raises(TrainingError, match="lower --ids_threshold"):
        load_accepted_examples(1, run, patches, "replace")


def test_empty_initial_masks_are_left_out_and_all_empty_is_an_error(run, patches):
    write_mask(run.initial_masks("train") / "b_1.png", EMPTY)
    assert [e.patch.name for e in load_initial_examples(run, patches)] == ["a_1", "c_1"]
    with pytest.raises(TrainingError, match="all initial masks are empty"):
        load_initial_examples(run, patches[1:2])


def test_soft_targets_are_written_beside_the_masks_and_are_an_error_if_missing(run, patches):
    masks = {"a_1": INSIDE, "b_1": HALF_OUT, "c_1": INSIDE}
    write(0, run, patches, masks)
    assert [example.soft for example in load_accepted_examples(1, run, patches, "replace")] == [
        None,
        None,
    ]
    with pytest.raises(TrainingError, match=r"a_1.png: missing.*--soft_targets"):
        load_accepted_examples(1, run, patches, "replace", soft_targets=True)
    write(0, run, patches, masks, soft_targets=True)
    examples = load_accepted_examples(1, run, patches, "replace", soft_targets=True)
    assert [example.patch.name for example in examples] == ["a_1", "c_1"]
    # 0.9 where the mask is; stored to 1/255.
    assert np.allclose(read_probability(examples[0].soft), INSIDE * 0.9, atol=1 / 510)
    assert np.array_equal(read_mask(examples[0].target), INSIDE)
