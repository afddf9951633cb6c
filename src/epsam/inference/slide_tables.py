"""What is told of all slides together: slides.csv, figures beside truth, and where the time
went.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from epsam.core.errors import DatasetError, EpsamError, SlideError
from epsam.core.files import read_json, write_json, write_table
from epsam.evaluation.froc import compute_froc
from epsam.evaluation.slide_scores import SlideScore, score_slide, summarize_slide_scores
from epsam.extraction.discovery import FAILED, SlideRecord
from epsam.inference.inputs import has_truth
from epsam.inference.progress import PHASES
from epsam.inference.slide import bands_of_file
from epsam.inference.slides import TIMINGS, Row, read_slide_result, reason_of
from epsam.tables import FROC_COLUMNS, SLIDE_RESULT_COLUMNS
from epsam.wsi.tiff import TIFF_ERRORS

log = logging.getLogger(__name__)

TIMING_COLUMNS = ("slide", "seconds", "windows_per_second", *PHASES)


def result_rows(records: Sequence[SlideRecord], output: Path) -> tuple[list[Row], list[Row]]:
    """The rows of slides.csv and those of timings.csv that are kept of slides."""
    kept = [
        kept.row for kept in (read_slide_result(output, record.name) for record in records) if kept
    ]
    timings = {
        row["slide"]: timing for row in kept if (timing := _timing(output / row["slide"] / TIMINGS))
    }
    rows = [
        {**row, "seconds": timings[row["slide"]]["seconds"]} if row["slide"] in timings else row
        for row in kept
    ]
    return rows, list(timings.values())


def _timing(path: Path) -> Row | None:
    """What a slide's file of seconds says; None if there is none or it is damaged: seconds are not
    worth a rerun.
    """
    if not path.is_file():
        return None
    try:
        row = read_json(path)
        return {
            "slide": path.parent.name,
            **{name: float(row[name]) for name in TIMING_COLUMNS[1:]},
        }
    except (DatasetError, LookupError, TypeError, ValueError) as error:
        log.warning("%s: damaged (%r); the slide is done, and left out of timings.csv", path, error)
        return None


def score_slides(
    records: Sequence[SlideRecord], output: Path
) -> tuple[list[SlideScore], dict[str, str]]:
    """Scores of the finished slides whose truth is known beside them, and why others with outlines
    have none.
    """
    scores, unscored = [], {}
    for record in tqdm(
        [record for record in records if has_truth(record)],
        desc="scoring",
        unit="slide",
        disable=None,
        leave=False,
    ):
        kept = read_slide_result(output, record.name)
        if kept and kept.frame:
            folder = output / record.name
            try:
                scores.append(
                    score_slide(record, folder, bands_of_file(folder / "mask.tif"), kept.frame)
                )
            except (EpsamError, MemoryError, *TIFF_ERRORS) as error:
                unscored[record.name] = f"not scored: {reason_of(record, error)}"
                log.warning("%s", unscored[record.name])
    return scores, unscored


def scored_rows(
    rows: Sequence[Row], scores: Sequence[SlideScore], unscored: Mapping[str, str]
) -> list[Row]:
    """The rows of slides.csv with Dice and IoU of the slides that truly have tumour, and why others
    have none.
    """
    found = {
        score.slide: {"dice": f"{score.overlap.dice:.6f}", "iou": f"{score.overlap.iou:.6f}"}
        for score in scores
        if score.overlap.target
    }
    told = {slide: {"reason": reason} for slide, reason in unscored.items()}
    return [{**row, **found.get(row["slide"], {}), **told.get(row["slide"], {})} for row in rows]


def write_tables(
    rows: Sequence[Row], timings: Sequence[Row], scores: Sequence[SlideScore], output: Path
) -> None:
    """slides.csv, timings.csv and, with truth, froc.csv and summary.json."""
    write_table(output / "slides.csv", SLIDE_RESULT_COLUMNS, rows)
    write_table(output / "timings.csv", TIMING_COLUMNS, timings)
    for name in ("summary.json", "froc.csv"):
        # Those of another folder of slides would be taken for these slides'.
        (output / name).unlink(missing_ok=True)
    if scores:
        figures = summarize_slide_scores(scores)
        points = compute_froc([score.hits for score in scores])
        write_json(output / "summary.json", figures)
        write_table(
            output / "froc.csv",
            FROC_COLUMNS,
            [
                dict(zip(FROC_COLUMNS, (f"{value:.6f}" for value in point), strict=True))
                for point in points
            ],
        )
        log.info("%s", format_metrics(figures))


def format_metrics(figures: Mapping[str, object]) -> str:
    """Names and values on one line, without those that nothing counted for."""
    return "  ".join(f"{name} {value}" for name, value in figures.items() if value is not None)


def log_summary(rows: Sequence[Row], timings: Sequence[Row], output: Path) -> None:
    """Log what became of the slides, and where the time went."""
    done = [row for row in rows if row["status"] == "done"]
    seen, gated = (sum(int(row[name]) for row in done) for name in ("seen", "gated"))
    log.info(
        "%d slides done, %d failed; %d windows with tissue, %d of them gated",
        len(done),
        len(rows) - len(done),
        seen,
        gated,
    )
    log.info("%s", format_timings(timings, seen))
    log.info("results are in %s", output)


def format_timings(timings: Sequence[Row], windows: int) -> str:
    """Windows a second over all slides, and the share of time in each part."""
    total = sum(float(row["seconds"]) for row in timings)
    if not total:
        return "no slide was timed"
    shares = {part: sum(float(row[part]) for row in timings) / total for part in PHASES}
    told = ", ".join(f"{part} {100 * share:.0f} %" for part, share in shares.items())
    return f"{windows / total:.1f} windows a second: {told}"


def check_some_done(rows: Sequence[Row], output: Path) -> None:
    """Raise SlideError if every slide failed."""
    if rows and all(row["status"] == FAILED for row in rows):
        raise SlideError(
            f"none of {len(rows)} slides could be segmented, first {rows[0]['reason']}; "
            f"{output / 'slides.csv'} says why for each"
        )
