"""Step 6: images or whole slides → masks, overlays, and metrics where ground truth exists."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epsam.annotations.groups import GroupNames
from epsam.config.command_line import run_stage
from epsam.config.flags import stored_options
from epsam.config.inference import InferOptions
from epsam.core.device import select_device
from epsam.core.distributed import (
    gather_objects,
    gather_parts,
    is_main_process,
    part_of_process,
    wait_for_all,
)
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, sha256_of, whole_file, write_json, write_table, write_text
from epsam.core.output_folders import INFERENCE, check_output_folder, mark_output_folder
from epsam.core.records import add_to_record
from epsam.core.shards import Shard
from epsam.data.patches import Patch
from epsam.evaluation.slide_scores import SlideScore, summarize_slide_scores
from epsam.evaluation.thresholds import resolve_inference_thresholds
from epsam.extraction.slide_labels import read_label_rules
from epsam.inference.image_folder import segment_folder, summarize_images
from epsam.inference.image_resolution import check_image_resolution
from epsam.inference.inputs import find_images, find_slides, is_for_slides, list_input_folders
from epsam.inference.loading import load_tile_model, make_slide_settings
from epsam.inference.segment_slides import segment_slides
from epsam.inference.slide_store import SlideStore
from epsam.inference.slide_tables import (
    add_scores,
    check_some_done,
    collect_rows,
    format_metrics,
    log_summary,
    score_slides,
    write_tables,
)
from epsam.inference.tile_model import Gate
from epsam.inference.weights import find_weights, inference_key, resolve_sam_model_type
from epsam.metrics import PixelCounts
from epsam.paths import run_folder, test_folder
from epsam.report.cases import draw_image_cases, draw_slide_cases
from epsam.report.inference import InferenceResults, render_inference_report
from epsam.report.provenance import RunProvenance
from epsam.tables import IMAGE_RESULT_COLUMNS

log = logging.getLogger(__name__)

TABLES = Path(__file__).resolve().parents[1] / "dataset"

Row = dict[str, Any]


def main(options: InferOptions) -> None:
    """Segment every slide or every image of a folder with a trained run."""
    path = test_folder(options)
    # Before anything else: the networks take their time to load.
    inputs = [*list_input_folders(path), run_folder(options)]
    if is_main_process():
        check_output_folder(Path(options.output_dir), INFERENCE, inputs)
    options = resolve_inference_thresholds(resolve_sam_model_type(options))
    if is_for_slides(path, options.as_):
        infer_slides(path, options)
    else:
        require_no_shard(options)
        infer_images(path, options)


def require_no_shard(options: InferOptions) -> None:
    """Raise DatasetError if images are to be spread over machines."""
    if options.shard or options.merge:
        raise DatasetError(
            "--shard and --merge are for slides; give a folder of slides, or leave them out"
        )


def mark_results(output: Path) -> None:
    """Mark the folder as one of results, before any process writes there."""
    if is_main_process():
        mark_output_folder(output, INFERENCE)
    wait_for_all()


def infer_slides(path: Path, options: InferOptions) -> None:
    """A folder of results for each slide, and tables and a report over all of them."""
    started = time.monotonic()
    output = Path(options.output_dir)
    shard = Shard.parse(options.shard or "1/1")
    rules = read_label_rules(TABLES, options.dataset_type)
    records = find_slides(path, rules, GroupNames.of(options))
    slides = [slide for slide in records if shard.holds(slide.name)]
    store = SlideStore(output, inference_key(options))
    if options.merge:
        store.check_complete(slides)
    elif slides:
        device_config = select_device(options.device, options.precision)
        pipeline = load_tile_model(options, device_config)
        is_on_gpu = device_config.device.type == "cuda"
        settings = make_slide_settings(options, pipeline, is_on_gpu)
        mark_results(output)
        slides = segment_slides(slides, pipeline, settings, store)
    if not is_main_process():
        return

    rows, timings = collect_rows(slides, store)
    # A shard has only its own slides; the tables over all of them are left to --merge.
    if not options.shard:
        scores, unscored = score_slides(slides, store)
        rows = add_scores(rows, scores, unscored)
        write_tables(rows, timings, scores, output)
        report_slides(path, options, rows, timings, scores, started)
    log_summary(rows, timings, output)
    check_some_done(rows, output)


def report_slides(
    path: Path,
    options: InferOptions,
    rows: list[Row],
    timings: list[Row],
    scores: list[SlideScore],
    started: float,
) -> None:
    """Write record.json and report.html about slides."""
    output = Path(options.output_dir)
    metrics = summarize_slide_scores(scores) if scores else {}
    dice = {score.slide: score.overlap.dice for score in scores if score.overlap.target}
    cases = draw_slide_cases(rows, dice, output)
    record = write_record(options, started)
    write_report(
        InferenceResults(
            folder=str(path),
            key="slide",
            rows=rows,
            metrics=metrics,
            dice=dice,
            cases=cases,
            provenance=record,
            timings=timings,
        ),
        output,
    )


def infer_images(path: Path, options: InferOptions) -> None:
    """A mask and an overlay for each image, a table of metrics, and a report."""
    started = time.monotonic()
    output = Path(options.output_dir)
    images = find_images(path, options.labels)
    pipeline = load_tile_model(options, select_device(options.device, options.precision))
    check_image_resolution(images, path, options.mpp, pipeline.mpp)
    gate = Gate(options.classifier_gate, options.gate_threshold)
    key = inference_key(options)
    mark_results(output)
    part_rows, part_counts = segment_folder(
        part_of_process(images),
        pipeline,
        output,
        options.overlap,
        gate,
        key,
        options.mask_threshold,
    )
    rows = gather_parts(part_rows)
    counts = join_counts(images, gather_objects(part_counts))
    if not is_main_process():
        return

    # An image that could not be read is in the table, too, with its reason.
    metrics = summarize_images(rows, list(counts.values()))
    write_table(output / "metrics.csv", IMAGE_RESULT_COLUMNS, rows)
    write_json(output / "summary.json", metrics)

    dice = {name: image_counts.dice for name, image_counts in counts.items()}
    cases = draw_image_cases(images, rows, dice, output)
    record = write_record(options, started)
    write_report(
        InferenceResults(
            folder=str(path),
            key="image",
            rows=rows,
            metrics=metrics,
            dice=dice,
            cases=cases,
            provenance=record,
        ),
        output,
    )
    if metrics["failed"] == len(rows):
        raise DatasetError(
            f"{images[0].image.parent}: none of {len(rows)} images could be segmented; "
            f"{output / 'metrics.csv'} says why for each"
        )
    log.info("%s", format_metrics(metrics))
    log.info("masks, overlays, metrics.csv and summary.json are in %s", output)


def join_counts(
    images: Sequence[Patch], parts: Sequence[Mapping[str, PixelCounts]]
) -> dict[str, PixelCounts]:
    """Pixel counts by file name, of all processes, in the order of the images."""
    joined: dict[str, PixelCounts] = {}
    for counts in parts:
        joined.update(counts)
    names = [image.file_name for image in images]
    return {name: joined[name] for name in names if name in joined}


def write_record(options: InferOptions, started: float) -> RunProvenance:
    """Write record.json, the provenance of the results, and return its content.

    `started`: when the run began, on the monotonic clock.
    """
    path = Path(options.output_dir) / "record.json"
    weights = {file.name: sha256_of(file) for file in find_weights(options)}
    # Not into the file itself: the record of an earlier run would be added to, and another run that
    # shares the folder may end, and write its own, at the same moment.
    with whole_file(path) as temporary:
        add_to_record(
            temporary, "infer", stored_options(options), time.monotonic() - started, weights
        )
        return read_json(temporary)


def write_report(results: InferenceResults, output: Path) -> None:
    """Write report.html."""
    path = output / "report.html"
    write_text(path, render_inference_report(results))
    log.info("report: %s", path)


if __name__ == "__main__":
    run_stage("infer", InferOptions, main, is_shared=True)
