"""The tables over all slides: slides.csv, timings.csv and, with ground truth, the metrics."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from epsam.core.errors import EpsamError, SlideError
from epsam.core.files import write_json, write_table
from epsam.core.progress import track
from epsam.evaluation.froc import compute_froc
from epsam.evaluation.slide_scores import SlideScore, score_slide, summarize_slide_scores
from epsam.evaluation.tumour_fractions import summarize_by_fraction
from epsam.extraction.discovery import FAILED, SlideRecord
from epsam.inference.inputs import has_ground_truth
from epsam.inference.pyramid_bands import read_bands
from epsam.inference.segment_slides import describe_failure
from epsam.inference.slide_files import MASK_FILE
from epsam.inference.slide_store import Row, SlideStore
from epsam.inference.slide_timings import list_timed_phases, read_timing, timing_columns
from epsam.tables import FRACTION_COLUMNS, FROC_COLUMNS, SLIDE_RESULT_COLUMNS
from epsam.wsi.tiff import TIFF_ERRORS

log = logging.getLogger(__name__)


def collect_rows(records: Sequence[SlideRecord], store: SlideStore) -> tuple[list[Row], list[Row]]:
    """The stored rows of slides.csv and of timings.csv."""
    rows, timings = [], []
    for record in records:
        result = store.read_result(record.name)
        if result is None:
            continue
        row = dict(result.row)
        timing = read_timing(store.output / record.name, record.name)
        if timing is not None:
            row["seconds"] = timing["seconds"]
            timings.append(timing)
        rows.append(row)
    return rows, timings


def score_slides(
    records: Sequence[SlideRecord], store: SlideStore
) -> tuple[list[SlideScore], dict[str, str]]:
    """Scores of the finished slides with ground truth, and by name why some have none."""
    scores: list[SlideScore] = []
    unscored: dict[str, str] = {}
    with_ground_truth = [record for record in records if has_ground_truth(record)]
    for record in track(with_ground_truth, "scoring", len(with_ground_truth), unit="slide"):
        result = store.read_result(record.name)
        if result is None or result.frame is None:
            continue
        folder = store.output / record.name
        try:
            mask_bands = read_bands(folder / MASK_FILE)
            tissue_mm2 = float(result.row.get("tissue_mm2") or 0)
            scores.append(score_slide(record, folder, mask_bands, result.frame, tissue_mm2))
        except (EpsamError, MemoryError, *TIFF_ERRORS) as error:
            # Such as annotations that cannot be read: the masks are of use without scores.
            unscored[record.name] = f"not scored: {describe_failure(record, error)}"
            log.warning("%s", unscored[record.name])
    return scores, unscored


def add_scores(
    rows: Sequence[Row], scores: Sequence[SlideScore], unscored: Mapping[str, str]
) -> list[Row]:
    """The rows of slides.csv with Dice, IoU and recall of slides with tumour, the false-positive
    area, and why others have none.
    """
    # Without tumour in the ground truth, Dice and IoU say nothing.
    counts = {score.slide: score.overlap for score in scores if score.overlap.target}
    false_positives = {score.slide: score.false_positive_area for score in scores}
    scored_rows = []
    for row in rows:
        slide, scored_row = row["slide"], dict(row)
        if slide in counts:
            scored_row["dice"] = f"{counts[slide].dice:.6f}"
            scored_row["iou"] = f"{counts[slide].iou:.6f}"
            scored_row["recall"] = f"{counts[slide].recall:.6f}"
        if not math.isnan(false_positives.get(slide, math.nan)):
            scored_row["false_positive_area"] = f"{false_positives[slide]:.6f}"
        if slide in unscored:
            scored_row["reason"] = unscored[slide]
        scored_rows.append(scored_row)
    return scored_rows


def write_tables(
    rows: Sequence[Row], timings: Sequence[Row], scores: Sequence[SlideScore], output: Path
) -> None:
    """Write slides.csv, timings.csv and, with ground truth, froc.csv, tumour_fractions.csv and
    summary.json.
    """
    write_table(output / "slides.csv", SLIDE_RESULT_COLUMNS, rows)
    write_table(output / "timings.csv", timing_columns(timings), timings)
    # Those of another folder of slides would be taken for these slides'.
    for name in ("summary.json", "froc.csv", "tumour_fractions.csv"):
        (output / name).unlink(missing_ok=True)
    if not scores:
        return

    metrics = summarize_slide_scores(scores)
    write_json(output / "summary.json", metrics)
    froc_rows = []
    for point in compute_froc([score.hits for score in scores]):
        values = [f"{value:.6f}" for value in point]
        froc_rows.append(dict(zip(FROC_COLUMNS, values, strict=True)))
    write_table(output / "froc.csv", FROC_COLUMNS, froc_rows)
    windows = [window for score in scores for window in score.windows]
    fraction_rows = summarize_by_fraction(windows)
    write_table(output / "tumour_fractions.csv", FRACTION_COLUMNS, fraction_rows)
    log.info("%s", format_metrics(metrics))


def format_metrics(metrics: Mapping[str, object]) -> str:
    """Names and values on one line, without those that are None: nothing counted for them."""
    return "  ".join(f"{name} {value}" for name, value in metrics.items() if value is not None)


def log_summary(rows: Sequence[Row], timings: Sequence[Row], output: Path) -> None:
    """Log what became of the slides, and where the time went."""
    done = [row for row in rows if row["status"] == "done"]
    n_classified = sum(int(row["seen"]) for row in done)
    n_gated = sum(int(row["gated"]) for row in done)
    log.info(
        "%d slides done, %d failed; %d tiles with tissue, %d of them gated",
        len(done),
        len(rows) - len(done),
        n_classified,
        n_gated,
    )
    log.info("%s", format_timings(timings, n_classified))
    log.info("results are in %s", output)


def format_timings(timings: Sequence[Row], tiles: int) -> str:
    """Tiles a second over all slides, and the fraction of time in each phase."""
    total = sum(float(row["seconds"]) for row in timings)
    if not total:
        return "no slide was timed"
    fractions = []
    for phase in list_timed_phases(timings):
        seconds = sum(float(row.get(phase, 0)) for row in timings)
        fractions.append(f"{phase} {100 * (seconds / total):.0f} %")
    return f"{tiles / total:.1f} tiles a second: {', '.join(fractions)}"


def check_some_done(rows: Sequence[Row], output: Path) -> None:
    """Raise SlideError if every slide failed."""
    if rows and all(row["status"] == FAILED for row in rows):
        raise SlideError(
            f"none of {len(rows)} slides could be segmented, first {rows[0]['reason']}; "
            f"{output / 'slides.csv'} says why for each"
        )
