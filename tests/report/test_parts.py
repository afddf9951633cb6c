"""What a report promises, read back from the page as it shows without JavaScript."""

import numpy as np
import pytest

import infer
import report
from epsam.config.report import ReportOptions
from epsam.core.files import write_json, write_table
from epsam.data.images import write_jpeg, write_mask, write_rgb
from epsam.inference.image_folder import summarize_images
from epsam.inference.inputs import find_images
from epsam.inference.pipeline import Pipeline
from epsam.inference.progress import list_phases
from epsam.metrics import count_pixels
from epsam.paths import RunPaths
from epsam.report.cases import draw_image_cases, draw_slide_cases
from epsam.report.inference import InferenceResults
from epsam.tables import METRIC_COLUMNS, PATCH_SCORE_COLUMNS, SCORE_COLUMNS
from support.page_reader import Page

COLOURS = {
    "cases": (200, 40, 40),
    "test": (40, 160, 40),
    "loss": (40, 40, 200),
    "val dice": (180, 180, 30),
}


def coloured(name):
    return np.full((40, 60, 3), COLOURS[name], np.uint8)


def write_run(run):
    """What the stages of a run of one round leave, in miniature."""
    write_json(
        run.record,
        {
            "train_classifier": {
                "ended": "2026-01-01",
                "seconds": 61.5,
                "peak_ram_gib": 1.5,
                "options": {"lr": 0.125},
            },
            "retrain_decoder": {
                "ended": "2026-01-02",
                "seconds": 7.0,
                "options": {"pl_mode": "replace", "n_iter": 1},
            },
        },
    )
    metrics = {0: (0.5, 0.25, 0.625, 0.75), 1: (0.875, 0.03125, 0.6875, 0.8125)}
    names = ("val_dice", "acceptance", "pseudo_dice_all", "pseudo_dice_kept")
    write_table(
        run.metrics,
        METRIC_COLUMNS,
        [
            {"stage": f"decoder_{number}", "epoch": 1, "name": name, "value": value}
            for number, values in metrics.items()
            for name, value in zip(names, values, strict=True)
        ],
    )
    scores = dict.fromkeys(SCORE_COLUMNS, "") | {
        "split": "test",
        "patches": 4,
        "iou": 0.5,
        "pooled_dice": 0.5,
        "pooled_iou": 0.5,
    }
    write_table(
        run.evaluation,
        SCORE_COLUMNS,
        [
            {**scores, "what": "initial mask", "dice": 0.5},
            {**scores, "what": "round 1", "dice": 0.4375},
        ],
    )
    write_table(
        run.patch_scores,
        PATCH_SCORE_COLUMNS,
        [
            {"split": "test", "what": "round 1", "id": f"p{number}", "dice": dice, "iou": 0.5}
            for number, dice in enumerate((0.0625, 0.3125, 0.5625, 0.8125))
        ],
    )
    for name in ("cases", "test"):
        write_rgb(run.panels / f"{name}.png", coloured(name))
    for name in ("loss", "val_dice"):
        write_rgb(run.root / "curves" / f"{name}.png", coloured(name.replace("_", " ")))


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    options = ReportOptions(
        dataset_type="mine",
        run="first",
        checkpoint_root=str(folder),
        dataset_root=str(folder / "none"),
    )
    write_run(RunPaths.of(options))
    report.main(options)
    return Page((folder / "first" / "report.html").read_text("utf-8")).sections


def test_training_lists_options_and_timings(training):
    assert ["--lr", "0.125"] in training["Options"].rows
    assert ["--pl_mode", "replace"] in training["Options"].rows
    assert training["Seconds and memory"].rows == [
        ["stage", "seconds", "RAM, GiB"],
        ["train_classifier", "61.5", "1.5"],
        ["retrain_decoder", "7.0", ""],
    ]


def test_training_lists_acceptance_dice_and_validation_of_each_round(training):
    assert training["Rounds"].rows == [
        ["round", "best val_dice", "accepted", "Dice of all", "Dice of the accepted"],
        ["0", "0.5000", "0.2500", "0.6250", "0.7500"],
        ["1", "0.8750", "0.0312", "0.6875", "0.8125"],
    ]


def test_training_warns(training):
    acceptance, worse = training["Warnings"].warnings
    assert "Round 1 accepted only 3.1 %" in acceptance
    assert "0.438) is below that of the initial masks (0.500)" in worse


def test_training_shows_the_distribution_of_dice(training):
    part = training["Dice of single patches"]
    assert part.drawings == 1
    assert "4 test patches, round 1; lowest 0.062, median 0.438, highest 0.812" in part.text


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        (
            "Cases",
            {
                "Test patches of lowest, middle and highest Dice": "cases",
                "Test patches, evenly spaced: patch, ground truth, class activation map, "
                "initial mask, points, mask": "test",
            },
        ),
        ("Training", {"loss": "loss", "val dice": "val dice"}),
    ],
)
def test_training_shows_cases_and_curves(training, heading, expected):
    images = dict(training[heading].pictures)
    assert list(images) == list(expected)
    for caption, name in expected.items():
        assert np.abs(images[caption].astype(int) - coloured(name)).max() < 6


PROVENANCE = {
    "infer": {
        "ended": "2026-01-01",
        "seconds": 12.5,
        "options": {"overlap": 0.25, "sam_model_type": "vit_b"},
    }
}
OVERLAP_PX = {"a.png": 4, "b.png": 12, "c.png": 8}
"""Rows that mask and ground truth have in common; both have 16, so Dice is a sixteenth of it."""


def images(folder):
    """Three images of which the report is to show all, ordered by Dice: a, c, b; and one that
    failed.
    """
    rows, counts = [], {}
    for name, common in OVERLAP_PX.items():
        ground_truth = np.zeros((64, 64), bool)
        mask = ground_truth.copy()
        ground_truth[16:32], mask[16 + 16 - common : 48 - common] = True, True
        write_rgb(folder / "image" / name, np.full((64, 64, 3), 240, np.uint8))
        write_mask(folder / "mask" / name, ground_truth)
        write_mask(folder / "out" / "mask" / name, mask)
        counts[name] = count_pixels(mask, ground_truth)
        rows.append(
            {
                "image": name,
                "status": "done",
                "windows": 1,
                "gated": 0,
                "tumour_share": 0.25,
                "seconds": 0.5,
            }
        )
    rows.append({"image": "d.png", "status": "failed", "reason": "no readable image"})
    dice = {name: image_counts.dice for name, image_counts in counts.items()}
    return InferenceResults(
        "here",
        "image",
        rows,
        summarize_images(rows, list(counts.values())),
        dice,
        draw_image_cases(find_images(folder), rows, dice, folder / "out"),
        PROVENANCE,
    )


def slides(folder):
    """Two slides, one of them timed: three quarters of it in the encoder."""
    rows = [
        {
            "slide": name,
            "status": "done",
            "seen": 4,
            "gated": 1,
            "tumour_mm2": 1.5,
            "tissue_mm2": 6.0,
            "tumour_share": 0.25,
            "regions": 3,
        }
        for name in ("s", "t")
    ]
    rows[0]["seconds"] = 4.0
    for row in rows:
        write_jpeg(
            folder / row["slide"] / "overlay.jpg", np.full((50, 90, 3), (200, 40, 40), np.uint8)
        )
    timings = [
        {
            "slide": "s",
            "seconds": 4.0,
            **dict.fromkeys(list_phases(Pipeline.phases), 0.0),
            "encoder": 3.0,
            "write": 1.0,
        }
    ]
    return InferenceResults(
        "here",
        "slide",
        rows,
        {"mean_dice": 0.75},
        {"s": 0.75, "t": 0.25},
        draw_slide_cases(rows, {"s": 0.75, "t": 0.25}, folder),
        PROVENANCE,
        timings,
    )


def page_of(results, folder):
    infer.write_report(results, folder)
    return Page((folder / "report.html").read_text("utf-8")).sections


def test_an_inference_of_images_shows_every_part(tmp_path):
    page = page_of(images(tmp_path), tmp_path)
    assert page["Warnings"].warnings == ["1 of 4 images failed.", "d.png: no readable image"]
    assert ["mean_dice", "0.5"] in page["Metrics"].rows
    assert (
        "3 images with tumour; lowest 0.250, median 0.500, highest 0.750"
        in page["Dice of single images"].text
    )
    assert page["Dice of single images"].drawings == 1
    assert [caption for caption, _ in page["Cases"].pictures] == [
        "a.png: Dice 0.250",
        "c.png: Dice 0.500",
        "b.png: Dice 0.750",
    ]
    assert [row[:2] for row in page["Images"].rows[1:]] == [
        ["a.png", "done"],
        ["b.png", "done"],
        ["c.png", "done"],
        ["d.png", "failed"],
    ]
    assert ["infer", "12.5"] in page["Seconds and memory"].rows
    assert page["Options"].rows == [
        ["flag", "value"],
        ["--overlap", "0.25"],
        ["--sam_model_type", "vit_b"],
    ]


def test_an_inference_of_slides_shows_every_part(tmp_path):
    page = page_of(slides(tmp_path), tmp_path)
    assert (
        "2 slides with tumour; lowest 0.250, median 0.500, highest 0.750"
        in page["Dice of single slides"].text
    )
    assert [caption.split(";")[0] for caption, _ in page["Cases"].pictures] == [
        "t: Dice 0.250",
        "s: Dice 0.750",
    ]
    assert [row[0] for row in page["Slides"].rows] == ["slide", "s", "t"]
    assert ["encoder", "3.0", "0.750"] in page["Seconds and memory"].rows
    assert ["--overlap", "0.25"] in page["Options"].rows
    assert "Warnings" not in page


@pytest.mark.parametrize(
    "html",
    [
        '<img alt="" src="http://a/b.png">',
        '<a href="https://a">x</a>',
        "<script>1</script>",
        '<p onclick="x()">y</p>',
        '<link rel="stylesheet" href="a.css">',
        "<style>p { background: url(a.png) }</style>",
    ],
)
def test_a_page_that_is_not_self_contained_would_be_noticed(html):
    with pytest.raises(AssertionError):
        Page(html)
