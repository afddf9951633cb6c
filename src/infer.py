"""Step 6: images or whole slides → masks, overlays, and metrics where truth exists."""

import logging
import time
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.flags import stored_options
from epsam.config.inference import InferOptions
from epsam.core.device import select_device
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, sha256_of, write_json, write_table, write_text
from epsam.core.records import add_to_record
from epsam.core.shards import Shard
from epsam.evaluation.slide_scores import summarize_slide_scores
from epsam.inference.image_folder import segment_folder, summarize_images
from epsam.inference.inputs import find_images, find_slides, holds_slides
from epsam.inference.loading import fingerprint_of, load_pipeline, slide_rule, weight_files
from epsam.inference.pipeline import Gate
from epsam.inference.slide_tables import (
    check_some_done,
    format_metrics,
    log_summary,
    result_rows,
    score_slides,
    scored_rows,
    write_tables,
)
from epsam.inference.slides import check_complete, segment_slides
from epsam.paths import test_folder
from epsam.report.cases import draw_image_cases, draw_slide_cases
from epsam.report.inference import InferenceResults, render_inference_report
from epsam.report.provenance import RunProvenance
from epsam.tables import IMAGE_RESULT_COLUMNS

log = logging.getLogger(__name__)


def main(options: InferOptions) -> None:
    """Segment every slide or every image of a folder with a trained run."""
    place = test_folder(options)
    if holds_slides(place):
        infer_slides(place, options)
    else:
        check_no_shard(options)
        infer_images(place, options)


def check_no_shard(options: InferOptions) -> None:
    """Raise DatasetError if images are to be spread over machines."""
    if options.shard or options.merge:
        raise DatasetError(
            "--shard and --merge are for slides; give a folder of slides, or leave them out"
        )


def infer_slides(place: Path, options: InferOptions) -> None:
    """A folder of results for each slide, and tables and a report over all of them."""
    output, started = Path(options.output_dir), time.monotonic()
    every = find_slides(place)
    shard = Shard.parse(options.shard or "1/1")
    slides = [slide for slide in every if shard.holds(slide.name)]
    fingerprint = fingerprint_of(options)
    if options.merge:
        check_complete(slides, output, fingerprint)
    elif slides:
        pipeline = load_pipeline(options, select_device(options.device, options.precision))
        slides = segment_slides(
            slides, pipeline, slide_rule(options, pipeline), output, fingerprint
        )
    rows, timings = result_rows(slides, output)
    if not options.shard:
        scores, unscored = score_slides(slides, output)
        rows = scored_rows(rows, scores, unscored)
        write_tables(rows, timings, scores, output)
        dice = {score.slide: score.overlap.dice for score in scores if score.overlap.target}
        figures = summarize_slide_scores(scores) if scores else {}
        write_report(
            InferenceResults(
                str(place),
                "slide",
                rows,
                figures,
                dice,
                draw_slide_cases(rows, dice, output),
                recorded(options, started),
                timings,
            ),
            output,
        )
    log_summary(rows, timings, output)
    check_some_done(rows, output)


def infer_images(place: Path, options: InferOptions) -> None:
    """A mask and an overlay for each image, a table of figures, and a report."""
    output, started = Path(options.output_dir), time.monotonic()
    images = find_images(place)
    pipeline = load_pipeline(options, select_device(options.device, options.precision))
    gate = Gate(options.classifier_gate, options.gate_threshold)
    rows, overlaps = segment_folder(
        images, pipeline, output, options.overlap, gate, fingerprint_of(options)
    )

    figures = summarize_images(rows, list(overlaps.values()))
    write_table(output / "metrics.csv", IMAGE_RESULT_COLUMNS, rows)
    write_json(output / "summary.json", figures)
    dice = {name: found.dice for name, found in overlaps.items()}
    write_report(
        InferenceResults(
            str(place),
            "image",
            rows,
            figures,
            dice,
            draw_image_cases(images, rows, dice, output),
            recorded(options, started),
        ),
        output,
    )
    if figures["failed"] == len(rows):
        raise DatasetError(
            f"{images[0].image.parent}: none of {len(rows)} images could be segmented; "
            f"{output / 'metrics.csv'} says why for each"
        )
    log.info("%s", format_metrics(figures))
    log.info("masks, overlays, metrics.csv and summary.json are in %s", output)


def recorded(options: InferOptions, started: float) -> RunProvenance:
    """Write record.json: how these results were made, `started` on the monotonic clock; returns
    what is in it.
    """
    record = Path(options.output_dir) / "record.json"
    inputs = {path.name: sha256_of(path) for path in weight_files(options)}
    record.unlink(missing_ok=True)
    add_to_record(record, "infer", stored_options(options), time.monotonic() - started, inputs)
    return read_json(record)


def write_report(found: InferenceResults, output: Path) -> None:
    """Write report.html."""
    write_text(output / "report.html", render_inference_report(found))
    log.info("report: %s", output / "report.html")


if __name__ == "__main__":
    run_stage("infer", InferOptions, main)
