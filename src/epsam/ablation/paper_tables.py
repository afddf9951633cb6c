"""Tables 2 to 6 of the paper: which run and which predictor stand behind each line, and what the
paper reports.

Paper values are Dice / IoU in per cent; a lone number is Dice; «–» is not reported, or not known to
us.
"""

from dataclasses import dataclass

from epsam.tables import ALL_FILLED, FILL, INITIAL, PRELIMINARY, ZERO_SHOT

FINAL = "last round"
"""The last decoder that a run has; other predictors are called as in evaluation.csv."""

ANY_ROW = ""
"""The row of a line that is the same in every run, such as every patch filled."""

PATCH_LABELS, PSEUDO_LABELS, MASKS = "patch labels", "pseudo-labels", "masks"
"""What a method learns from (SUP of the paper's Table 2)."""


@dataclass(frozen=True)
class TableLine:
    """A line of a table: a predictor of the runs of an ablation row, on a split.

    paper: the paper's scores on CAMELYON17, CAMELYON16 and its own set. labels: what the method
    learns from.
    """

    label: str
    row: str
    split: str
    predictor: str
    paper: tuple[str, str, str] = ("–", "–", "–")
    labels: str = PATCH_LABELS


@dataclass(frozen=True)
class PaperTable:
    """A table; differences are taken from its line `reference`."""

    number: str
    title: str
    reference: str
    lines: tuple[TableLine, ...]


def _strong_by_round(split: str) -> list[TableLine]:
    """The lines of the row `strong`, this project's, in a table by round."""
    predictors = (PRELIMINARY, "round 1", "round 2", "round 3")
    return [
        TableLine(f"strong, {predictor}", "strong", split, predictor) for predictor in predictors
    ]


METHOD_LINES = (
    TableLine("fill", ANY_ROW, "test", FILL),
    TableLine("all", ANY_ROW, "test", ALL_FILLED),
    TableLine("Grad-CAM", "gradcam", "test", INITIAL, ("56.48", "63.36", "70.13")),
    TableLine("Grad-CAM++", "gradcam++", "test", INITIAL, ("63.16", "65.82", "70.54")),
    TableLine("EigenCAM", "eigencam", "test", INITIAL, ("56.09", "59.4", "66.72")),
    TableLine("ADL", "adl", "test", INITIAL, ("79.39", "70.6", "69.79")),
    TableLine("Enhanced ADL", "enhanced_adl", "test", INITIAL, ("80.10", "69.61", "72.76")),
    TableLine("DWS-MIL", "dws_mil", "test", INITIAL, ("39.3", "32.0", "38.7")),
    TableLine("SA-MIL", "sa_mil", "test", INITIAL, ("58.9", "58.7", "57.1")),
    TableLine("Swin-MIL", "swin_mil", "test", INITIAL, ("66.6 / 60.9", "54.9", "55.4")),
    TableLine("WSSS-Tissue", "wsss_tissue", "test", "wsss_tissue", ("33.16", "46.92", "68.85")),
    TableLine("WeakMedSAM", "weakmedsam", "test", "unet"),
    TableLine("EP-SAM", "paper", "test", FINAL, ("83.83 / 73.74", "76.94 / 64.99", "75.13 / 61.5")),
    TableLine("EP-SAM, strong", "strong", "test", FINAL),
    TableLine(
        "U-Net, pseudo-labels",
        "unet_pseudo",
        "test",
        "unet",
        ("79.91 / 69.16", "75.85 / 62.83", "72.91 / 59.87"),
        labels=PSEUDO_LABELS,
    ),
    TableLine(
        "U-Net",
        "unet",
        "test",
        "unet",
        ("82 / 72.88", "73.21 / 61.05", "86.28 / 76.76"),
        labels=MASKS,
    ),
    TableLine("DeepLabV3+", "deeplab", "test", "deeplab", labels=MASKS),
    TableLine("SAM, box", "sam_box", "test", "sam_box", ("83.72", "78.26", "81.28"), labels=MASKS),
    TableLine(
        "MedSAM, box", "medsam_box", "test", "medsam_box", ("81.06", "68.69", "81.08"), labels=MASKS
    ),
)
"""Table 2: no method, the methods that learn from labels of patches, and those that learn from
masks. WeakMedSAM, DeepLabV3+ and `strong` are in no table of the paper.
"""

METHODS_TABLE = "2"
"""The number of the table of METHOD_LINES, which also says what each method costs."""

TABLES = (
    PaperTable(
        METHODS_TABLE,
        "Methods; CAMs with their own best quantile and kernel",
        "EP-SAM",
        METHOD_LINES,
    ),
    PaperTable(
        "3",
        "Post-processing of the class activation maps",
        "Enhanced ADL, ours",
        (
            TableLine("ADL, ours", "adl_ours", "train", INITIAL, ("78.11", "–", "72.57")),
            TableLine("Enhanced ADL, none", "raw", "train", INITIAL, ("70.12", "–", "68.15")),
            TableLine("Enhanced ADL, DenseCRF", "crf", "train", INITIAL, ("69.63", "–", "67.72")),
            TableLine("the same, --crf authors", "crf_authors", "train", INITIAL),
            TableLine(
                "Enhanced ADL, ours", "paper", "train", INITIAL, ("78.67 / 66.42", "–", "76.33")
            ),
        ),
    ),
    PaperTable(
        "4",
        "Prompts: pseudo-labels after the first round",
        "PEPM",
        (
            TableLine(
                "random in the truth",
                "truth_random",
                "train",
                "round 1",
                ("–", "–", "81.01 / 69.07"),
            ),
            TableLine(
                "random in the patch",
                "image_random",
                "train",
                "round 1",
                ("–", "–", "69.24 / 54.86"),
            ),
            TableLine(
                "random in the initial mask",
                "mask_random",
                "train",
                "round 1",
                ("–", "–", "71.75 / 57.65"),
            ),
            TableLine("PEPM", "paper", "train", "round 1", ("–", "–", "76.57 / 63.16")),
            TableLine("strong", "strong", "train", "round 1"),
        ),
    ),
    PaperTable(
        "5",
        "Pseudo-labels by round, before the filter",
        PRELIMINARY,
        (
            TableLine(ZERO_SHOT, "paper", "train", ZERO_SHOT, ("34.24", "–", "–")),
            TableLine(PRELIMINARY, "paper", "train", PRELIMINARY, ("78.66 / 66.41", "–", "–")),
            TableLine("round 1", "paper", "train", "round 1", ("82.16", "–", "76.57 / 63.16")),
            TableLine("round 2", "paper", "train", "round 2", ("82.95", "–", "–")),
            TableLine("round 3", "paper", "train", "round 3", ("82.98", "–", "–")),
            *_strong_by_round("train"),
        ),
    ),
    PaperTable(
        "6",
        "Validation by round",
        PRELIMINARY,
        (
            TableLine(PRELIMINARY, "paper", "val", PRELIMINARY, ("83.19", "–", "–")),
            TableLine("round 1", "paper", "val", "round 1", ("83.65", "–", "–")),
            TableLine("round 2", "paper", "val", "round 2", ("84.01", "–", "–")),
            TableLine("round 3", "paper", "val", "round 3", ("84.15", "–", "–")),
            *_strong_by_round("val"),
        ),
    ),
)
