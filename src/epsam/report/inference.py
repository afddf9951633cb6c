"""The report of an inference: figures, Dice of single images or slides, pictures, warnings, times
and options.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from epsam.data.images import Rgb
from epsam.inference.progress import PHASES
from epsam.report.page import document, folded, histogram, paragraph, photo, table, warnings_list
from epsam.report.provenance import (
    RunProvenance,
    format_failures,
    options_part,
    stages_part,
    stand_in_note,
)

Row = Mapping[str, Any]

LONG_LIST = 12
"""Ours: rows from which a table is folded."""
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
_SEEN = {"image": "windows", "slide": "seen"}
"""The column of windows that the classifier was shown."""


@dataclass(frozen=True)
class InferenceResults:
    """What is told of one folder of images or slides.

    rows: those of metrics.csv or slides.csv, keyed by `key` ("image" or "slide"). dice: of all that
    truly have tumour, by that key. pictures: by caption. timings: rows of timings.csv, for slides.
    """

    place: str
    key: str
    rows: Sequence[Row]
    figures: Row
    dice: Mapping[str, float]
    pictures: Mapping[str, Rgb]
    made: RunProvenance
    timings: Sequence[Row] = field(default_factory=list)


def render_inference_report(found: InferenceResults) -> str:
    """The report as HTML."""
    kind = f"{found.key}s"
    listed = table(SLIDE_COLUMNS if found.key == "slide" else IMAGE_COLUMNS, found.rows)
    if len(found.rows) > LONG_LIST:
        listed = folded(f"all {len(found.rows)} {kind}", listed)
    return document(
        f"EP-SAM, masks of {found.place}",
        [
            ("Warnings", warnings_list(inference_warnings(found))),
            (
                "Figures",
                table(
                    ("figure", "value"),
                    [
                        {"figure": name, "value": "none" if value is None else value}
                        for name, value in found.figures.items()
                    ],
                )
                + (
                    paragraph(
                        f"Dice and IoU: over {kind} that truly have tumour; pooled: all their pixels counted together."
                    )
                    if found.dice
                    else ""
                ),
            ),
            (
                f"Dice of single {kind}",
                histogram(list(found.dice.values()), f"{len(found.dice)} {kind} with tumour"),
            ),
            ("Cases", _cases(found)),
            (kind.capitalize(), listed),
            (
                "Seconds and memory",
                stages_part(found.made)
                + table(("part", "seconds", "share"), part_rows(found.timings)),
            ),
            (
                "Options",
                options_part({stage: entry["options"] for stage, entry in found.made.items()}),
            ),
        ],
    )


def _cases(found: InferenceResults) -> str:
    if not found.pictures:
        return ""
    rule = "by their Dice, from the lowest to the highest" if found.dice else "by their names"
    return paragraph(f"Evenly spaced over the {found.key}s ordered {rule}, not picked.") + "".join(
        photo(image, caption) for caption, image in found.pictures.items()
    )


def inference_warnings(found: InferenceResults) -> list[str]:
    """What a reader should know before trusting the masks."""
    failed = [
        (str(row[found.key]), str(row["reason"])) for row in found.rows if row["status"] == "failed"
    ]
    done = [row for row in found.rows if row["status"] != "failed"]
    told = format_failures(failed, len(found.rows), f"{found.key}s")
    told += [f"{row[found.key]}: {row['reason']}" for row in done if row.get("reason")]
    seen, gated = (sum(int(row[name]) for row in done) for name in (_SEEN[found.key], "gated"))
    if seen and gated == seen:
        told.append(f"The classifier called all {seen} windows normal, so every mask is empty.")
    if done and not seen and found.key == "slide":
        told.append("No window with tissue was found.")
    return told + stand_in_note({stage: entry["options"] for stage, entry in found.made.items()})


def part_rows(timings: Sequence[Row]) -> list[dict[str, object]]:
    """Seconds and share of time of each part, over all slides; nothing without timings."""
    total = sum(float(row["seconds"]) for row in timings)
    parts = {part: sum(float(row[part]) for row in timings) for part in PHASES} if total else {}
    return [
        {"part": part, "seconds": f"{seconds:.1f}", "share": f"{seconds / total:.3f}"}
        for part, seconds in parts.items()
    ]
