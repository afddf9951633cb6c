"""Tables 2 to 6 of the paper: which run and which masks stand behind each line, and what the paper
reports.

Paper values are Dice / IoU in per cent; a lone number is Dice; «–» is not reported, or not known to
us.
"""

from dataclasses import dataclass

from epsam.tables import INITIAL, PRELIMINARY, ZERO_SHOT

FINAL = "last round"
"""The last decoder that a run has; other makers of masks are called as evaluation.csv calls
them.
"""


@dataclass(frozen=True)
class Line:
    """A line of a table: whose masks, on which split, beside the paper's figures on CAMELYON17, 16
    and its own set.
    """

    label: str
    row: str
    split: str
    what: str
    paper: tuple[str, str, str] = ("–", "–", "–")


@dataclass(frozen=True)
class Table:
    """A table; differences are taken from its line `reference`."""

    number: str
    title: str
    reference: str
    lines: tuple[Line, ...]


def _strong(split: str) -> list[Line]:
    """The lines of the row `strong`, ours, in a table by round."""
    return [
        Line(f"strong, {what}", "strong", split, what)
        for what in (PRELIMINARY, "round 1", "round 2", "round 3")
    ]


TABLES = (
    Table(
        "2",
        "Activation maps with their own best quantile and kernel, and EP-SAM",
        "Enhanced ADL",
        (
            Line("Grad-CAM", "gradcam", "test", INITIAL),
            Line("Grad-CAM++", "gradcam++", "test", INITIAL),
            Line("EigenCAM", "eigencam", "test", INITIAL),
            Line("ADL", "adl", "test", INITIAL, ("–", "70.6", "–")),
            Line("Enhanced ADL", "enhanced_adl", "test", INITIAL, ("80.10", "69.61", "72.76")),
            Line(
                "EP-SAM", "paper", "test", FINAL, ("83.83 / 73.74", "76.94 / 64.99", "75.13 / 61.5")
            ),
            Line("EP-SAM, strong", "strong", "test", FINAL),
        ),
    ),
    Table(
        "3",
        "Post-processing of the activation maps",
        "Enhanced ADL, ours",
        (
            Line("ADL, ours", "adl_ours", "train", INITIAL, ("78.11", "–", "72.57")),
            Line("Enhanced ADL, none", "raw", "train", INITIAL, ("70.12", "–", "68.15")),
            Line("Enhanced ADL, DenseCRF", "crf", "train", INITIAL, ("69.63", "–", "67.72")),
            Line("Enhanced ADL, ours", "paper", "train", INITIAL, ("78.67 / 66.42", "–", "76.33")),
        ),
    ),
    Table(
        "4",
        "Prompts: pseudo-labels after the first round",
        "PEPM",
        (
            Line(
                "random in the truth",
                "truth_random",
                "train",
                "round 1",
                ("–", "–", "81.01 / 69.07"),
            ),
            Line(
                "random in the patch",
                "image_random",
                "train",
                "round 1",
                ("–", "–", "69.24 / 54.86"),
            ),
            Line(
                "random in the initial mask",
                "mask_random",
                "train",
                "round 1",
                ("–", "–", "71.75 / 57.65"),
            ),
            Line("PEPM", "paper", "train", "round 1", ("–", "–", "76.57 / 63.16")),
            Line("strong", "strong", "train", "round 1"),
        ),
    ),
    Table(
        "5",
        "Pseudo-labels by round, before the filter",
        PRELIMINARY,
        (
            Line(ZERO_SHOT, "paper", "train", ZERO_SHOT, ("34.24", "–", "–")),
            Line(PRELIMINARY, "paper", "train", PRELIMINARY, ("78.66 / 66.41", "–", "–")),
            Line("round 1", "paper", "train", "round 1", ("82.16", "–", "76.57 / 63.16")),
            Line("round 2", "paper", "train", "round 2", ("82.95", "–", "–")),
            Line("round 3", "paper", "train", "round 3", ("82.98", "–", "–")),
            *_strong("train"),
        ),
    ),
    Table(
        "6",
        "Validation by round",
        PRELIMINARY,
        (
            Line(PRELIMINARY, "paper", "val", PRELIMINARY, ("83.19", "–", "–")),
            Line("round 1", "paper", "val", "round 1", ("83.65", "–", "–")),
            Line("round 2", "paper", "val", "round 2", ("84.01", "–", "–")),
            Line("round 3", "paper", "val", "round 3", ("84.15", "–", "–")),
            *_strong("val"),
        ),
    ),
)
