"""Step 6: images or whole slides → masks, overlays, and metrics where truth exists."""

import logging
from pathlib import Path

from command_line import run_stage
from epsam.device import pick_compute
from epsam.errors import DatasetError
from epsam.files import write_json, write_table
from epsam.inference.folder import COLUMNS, find_images, segment_folder, summary
from epsam.inference.inputs import find_slides, holds_slides
from epsam.inference.loading import fingerprint_of, load_pipeline, slide_rule
from epsam.inference.pipeline import Gate
from epsam.inference.slides import check_complete, segment_slides
from epsam.inference.tables import check_some_done, kept_rows, score_slides, tell, write_tables
from epsam.options import InferOptions
from epsam.paths import folder_of_test
from epsam.shards import Shard

log = logging.getLogger(__name__)


def main(options: InferOptions) -> None:
    """Segment every slide or every image of a folder with a trained run."""
    place = folder_of_test(options)
    if holds_slides(place):
        infer_slides(place, options)
    else:
        check_no_shard(options)
        infer_images(place, options)


def check_no_shard(options: InferOptions) -> None:
    """Raise DatasetError if images are to be spread over machines."""
    if options.shard or options.merge:
        raise DatasetError("--shard and --merge are for slides; give a folder of slides, or leave them out")


def infer_slides(place: Path, options: InferOptions) -> None:
    """A folder of results for each slide, and tables over all of them."""
    output = Path(options.output_dir)
    every = find_slides(place)
    shard = Shard.parse(options.shard or "1/1")
    slides = [slide for slide in every if shard.holds(slide.name)]
    fingerprint = fingerprint_of(options)
    if options.merge:
        check_complete(slides, output, fingerprint)
    elif slides:
        pipeline = load_pipeline(options, pick_compute(options.device, options.precision))
        segment_slides(slides, pipeline, slide_rule(options, pipeline), output, fingerprint)
    rows, timings = kept_rows(slides, output)
    if not options.shard:
        write_tables(rows, timings, score_slides(slides, output), output)
    tell(rows, timings, output)
    check_some_done(rows, output)


def infer_images(place: Path, options: InferOptions) -> None:
    """A mask and an overlay for each image, and a table of figures."""
    images = find_images(place)
    pipeline = load_pipeline(options, pick_compute(options.device, options.precision))
    output = Path(options.output_dir)
    gate = Gate(options.classifier_gate, options.gate_threshold)
    rows, overlaps = segment_folder(images, pipeline, output, options.overlap, gate)

    figures = summary(rows, overlaps)
    write_table(output / "metrics.csv", COLUMNS, rows)
    write_json(output / "summary.json", figures)
    if figures["failed"] == len(rows):
        raise DatasetError(f"{images[0].image.parent}: none of {len(rows)} images could be segmented; "
                           f"{output / 'metrics.csv'} says why for each")
    log.info("%s", "  ".join(f"{name} {value}" for name, value in figures.items()))
    log.info("masks, overlays, metrics.csv and summary.json are in %s", output)


if __name__ == "__main__":
    run_stage("infer", InferOptions, main)
