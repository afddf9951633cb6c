"""The columns of every CSV file, and the predictors that evaluation.csv names.

They are here, apart from the code that writes them, so that reports read the files without
importing PyTorch, which takes seconds. Columns are data: they keep their names where the code has
other words (`what` is the predictor, `pooled` the micro average, `tumour_share` a fraction).
"""

SCORE_COLUMNS = (
    "split",
    "what",
    "patches",
    "dice",
    "iou",
    "pooled_dice",
    "pooled_iou",
    "kept",
    "kept_dice",
)
"""evaluation.csv. `kept`: the fraction of train masks that the decoder's IDS filter would accept;
`kept_dice`: their mean Dice.
"""

SUBCLASS_COLUMNS = ("id", "subclass")
"""subclasses.csv: the cluster, 1 … k, of each training patch with tumour."""

ALL_PATCH_COLUMNS = (
    "all_patches",
    "all_iou",
    "precision",
    "recall",
    "negatives",
    "false_positive_area",
    "positives",
    "auroc",
    "sensitivity",
    "specificity",
)
"""evaluation.csv, at its end, since 0.3: figures that count negatives, too. All of `all_patches`
(`patches` and `negatives`) are pooled in `all_iou`, `precision` and `recall`;
`false_positive_area` is the fraction of the area of the `negatives`. The last three are the
classifier's, of `positives` and `negatives`.
"""

IMAGE_SCORE_COLUMNS = (
    "images",
    "both_empty",
    "image_dice",
    "jaccard",
    "assd",
    "hd95",
    "cases",
    "case_dice",
    "case_jaccard",
    "case_assd",
    "case_hd95",
)
"""evaluation.csv, at its end: means over `images`, and over `cases` of the means of each. `images`
have a prediction, a target or both; `both_empty` counts the others. Distances are in px, of the
images that have both.
"""

CLASSIFIER_COLUMNS = ("split", "id", "label", "probability")
"""evaluation_classifier.csv: the classifier's tumour probability of every patch."""

PATCH_SCORE_COLUMNS = ("split", "what", "id", "dice", "iou")

CASE_COLUMN = "case"
SLIDE_COLUMN = "slide"
"""At the end of evaluation_patches.csv and evaluation_classifier.csv: the case where patches.csv
states cases, else the slide where it states slides. Intervals go by them.
"""

FRACTION_COLUMNS = ("tumour_percent", "windows", "dice", "recall", "marked")
"""Scores of windows by their tumour fraction, in evaluation_fractions.csv (after `split` and
`what`) and tumour_fractions.csv of slides.
"""

FILL, ALL_FILLED = "fill", "all"
"""Values of `what` for no method: every positive patch filled, and every patch filled."""

INITIAL, ZERO_SHOT, PRELIMINARY = "initial mask", "zero-shot SAM", "preliminary decoder"
"""Values of `what`; the decoders of later rounds are "round 1", "round 2", …"""

METRIC_COLUMNS = ("stage", "epoch", "name", "value")

BROUGHT_PATCH_COLUMNS = ("id", "label", "case", "split")
"""patches.csv of patches that were not extracted here: without slides and places."""

PATCH_COLUMNS = ("id", "slide", "split", "label", "x", "y", "size", "mpp", "tumour", "tissue")

SLIDE_COLUMNS = (
    "slide",
    "split",
    "status",
    "reason",
    "mpp",
    "windows",
    "positives",
    "negatives",
    "chosen_positives",
    "chosen_negatives",
)

PSEUDO_LABEL_COLUMNS = ("round", "id", "points", "ids", "area_ratio", "accepted", "dice")

GRID_SEARCH_COLUMNS = ("quantile", "open_kernel", "open_at", "patches", "dice", "iou")

TILE_COLUMNS = ("x", "y", "tissue", "probability", "gated")

REGION_COLUMNS = ("region", "id", "area_um2", "perimeter_um", "mean_probability", "x", "y")
"""regions.csv of a slide; `id` is that of the region in tumour.geojson."""

SLIDE_RESULT_COLUMNS = (
    "slide",
    "status",
    "reason",
    "mpp",
    "width",
    "height",
    "windows",
    "seen",
    "gated",
    "probability",
    "tissue_mm2",
    "tumour_mm2",
    "tumour_share",
    "regions",
    "largest_diameter_mm",
    "dice",
    "iou",
    "seconds",
    "recall",
    "false_positive_area",
)
"""slides.csv of infer.py. `recall`: of the outlined area; `false_positive_area`: marked mm² for
each mm² of tissue that is not outlined.
"""

FROC_COLUMNS = ("threshold", "false_finds_per_slide", "sensitivity")

IMAGE_RESULT_COLUMNS = (
    "image",
    "status",
    "label",
    "probability",
    "windows",
    "gated",
    "tumour_share",
    "dice",
    "iou",
    "seconds",
    "reason",
)

DATA_TABLE_COLUMNS = (
    "split",
    "slides",
    "positives",
    "negatives",
    "paper_camelyon16",
    "paper_internal",
)

ABLATION_COLUMNS = (
    "table",
    "line",
    "row",
    "flags",
    "split",
    "masks",
    "patches",
    "seeds",
    "dice",
    "dice_sd",
    "iou",
    "iou_sd",
    "difference",
    "low",
    "high",
    "drawn",
    "paper_camelyon17",
    "paper_camelyon16",
    "paper_internal",
)

METHOD_TABLE_COLUMNS = (
    *ABLATION_COLUMNS,
    "labels",
    "all_iou",
    "all_iou_sd",
    "parameters",
    "seconds",
    "peak_gib",
    "note",
)
"""table_2.csv. `all_iou`: micro IoU over all patches, per cent; `seconds` and `peak_gib` are means
over seeds, of the training.
"""

COMPARISON_COLUMNS = (
    "masks",
    "run",
    "patches",
    "dice",
    "iou",
    "common_patches",
    "difference",
    "low",
    "high",
    "drawn",
)
"""`drawn`, as in the tables above: what the interval's bootstrap draws, case, slide or patch."""
