"""The report of an inference: metrics, Dice of single images or slides, cases, warnings, times and
options.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from epsam.data.images import Rgb
from epsam.inference.slide_timings import list_timed_phases
from epsam.report.page import (
    PageTable,
    embed_photo,
    make_histogram,
    make_table,
    render_page,
)
from epsam.report.provenance import (
    RunProvenance,
    describe_last_machine,
    format_failures,
    option_tables,
    options_of_stages,
    stage_table,
    warn_of_small_sam,
)

ResultRow = Mapping[str, Any]

LONG_LIST = 12
"""This project: rows from which a table is folded."""
SLIDE_COLUMNS = (
    "slide",
    "status",
    "dice",
    "iou",
    "tumour_mm2",
    "tissue_mm2",
    "tumour_share",
    "regions",
    "largest_diameter_mm",
    "probability",
    "seen",
    "gated",
    "seconds",
    "reason",
)
IMAGE_COLUMNS = (
    "image",
    "status",
    "dice",
    "iou",
    "tumour_share",
    "probability",
    "windows",
    "gated",
    "seconds",
    "reason",
)
_CLASSIFIED_COLUMN = {"image": "windows", "slide": "seen"}
"""The column that counts the tiles that the classifier looked at."""


@dataclass(frozen=True)
class InferenceResults:
    """The results of one folder of images or slides.

    rows: those of metrics.csv or slides.csv, keyed by `key` ("image" or "slide"). metrics: over all
    of them. dice: of all that have tumour in their ground truth, by that key. cases: images by
    caption. timings: rows of timings.csv, for slides.
    """

    folder: str
    key: str
    rows: Sequence[ResultRow]
    metrics: ResultRow
    dice: Mapping[str, float]
    cases: Mapping[str, Rgb]
    provenance: RunProvenance
    timings: Sequence[ResultRow] = field(default_factory=list)


def render_inference_report(results: InferenceResults) -> str:
    """The report as HTML."""
    kind = f"{results.key}s"
    dice = list(results.dice.values())
    return render_page(
        "inference.html.j2",
        title=f"EP-SAM, masks of {results.folder}",
        kind=kind,
        warnings=inference_warnings(results),
        metrics=_metric_table(results),
        has_dice=bool(dice),
        label_counts=describe_labels(results.rows),
        dice=make_histogram(dice, f"{len(dice)} {kind} with tumour"),
        cases=[embed_photo(image, caption) for caption, image in results.cases.items()],
        rows=_result_table(results),
        stages=stage_table(results.provenance),
        machine=describe_last_machine(results.provenance),
        timings=make_table(("phase", "seconds", "fraction"), phase_rows(results.timings)),
        options=option_tables(options_of_stages(results.provenance)),
    )


def inference_warnings(results: InferenceResults) -> list[str]:
    """What a reader should know before trusting the masks."""
    failures = []
    remarks = []
    done = classified = gated = 0
    for row in results.rows:
        name = str(row[results.key])
        if row["status"] == "failed":
            failures.append((name, str(row["reason"])))
            continue

        done += 1
        classified += int(row[_CLASSIFIED_COLUMN[results.key]])
        gated += int(row["gated"])
        # A slide that is done may still not have been scored.
        if row.get("reason"):
            remarks.append(f"{name}: {row['reason']}")

    messages = format_failures(failures, len(results.rows), f"{results.key}s") + remarks
    if classified and gated == classified:
        messages.append(
            f"The classifier called all {classified} tiles normal, so every mask is empty."
        )
    # An image that is known to be normal by its label is never classified; a slide always is.
    if done and not classified and results.key == "slide":
        messages.append("No tile with tissue was found.")
    return messages + warn_of_small_sam(options_of_stages(results.provenance))


def describe_labels(rows: Sequence[ResultRow]) -> str:
    """For how many images the label was known, so that the classifier did not decide; "" for
    none.
    """
    labels = [str(row["label"]) for row in rows if row.get("label") not in (None, "")]
    if not labels:
        return ""
    positives = labels.count("1")
    return (
        f"Labels were known for {len(labels)} of {len(rows)} images: {positives} with tumour are "
        "segmented whatever the gate says, or, if larger than a tile, in the tiles that pass it; "
        f"{len(labels) - positives} without have an empty mask."
    )


def phase_rows(timings: Sequence[ResultRow]) -> list[dict[str, object]]:
    """Seconds and fraction of time of each phase, over all slides; nothing without timings."""
    total = sum(float(row["seconds"]) for row in timings)
    if not total:
        return []

    rows: list[dict[str, object]] = []
    for phase in list_timed_phases(timings):
        seconds = sum(float(row.get(phase, 0)) for row in timings)
        rows.append(
            {"phase": phase, "seconds": f"{seconds:.1f}", "fraction": f"{seconds / total:.3f}"}
        )
    return rows


def _metric_table(results: InferenceResults) -> PageTable | None:
    rows = []
    for name, value in results.metrics.items():
        rows.append({"metric": name, "value": "none" if value is None else value})
    return make_table(("metric", "value"), rows)


def _result_table(results: InferenceResults) -> PageTable | None:
    columns = SLIDE_COLUMNS if results.key == "slide" else IMAGE_COLUMNS
    is_long = len(results.rows) > LONG_LIST
    summary = f"all {len(results.rows)} {results.key}s" if is_long else ""
    return make_table(columns, results.rows, summary)
