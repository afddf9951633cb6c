"""Segment whole slides, each into its folder of results; several processes may share them."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epsam.core.distributed import current_world, gather_objects, gather_parts, part_of_process
from epsam.core.errors import EpsamError
from epsam.core.files import DISK_FULL
from epsam.core.progress import track
from epsam.evaluation.slide_scores import ResultFrame
from epsam.extraction.candidates import require_slide_path
from epsam.extraction.discovery import FAILED, SlideRecord
from epsam.extraction.thumbnail import read_overview
from epsam.inference.progress import EtaEstimator, PhaseTimer, SlideProgress
from epsam.inference.slide_files import (
    PROBABILITY_FILE,
    ContourSettings,
    slide_row,
    write_probability,
    write_results,
)
from epsam.inference.slide_store import Row, SlideStore, StagedSlide
from epsam.inference.streaming import SlideInference
from epsam.inference.tile_model import Gate, TileModel
from epsam.inference.tiling import plan_tiles
from epsam.wsi.reader import open_slide
from epsam.wsi.tissue import find_tissue

log = logging.getLogger(__name__)

WAIT_S = 1.0
"""This project: how often the main process looks for slides that others have done, or left."""
# ValueError is what image libraries raise on damaged tiles: it is that slide's alone.
_SLIDE_ERRORS = (EpsamError, MemoryError, ValueError, OSError)


@dataclass(frozen=True)
class SlideSettings:
    """How slides are read, gated and written.

    mpp: µm/px of the tiles. slide_mpp: pixel size of slides whose file does not tell it, µm.
    overlap: of neighbouring tiles, as a fraction of their side. min_tissue: least fraction of
    tissue of a tile that is classified. clip_to_tissue: set the probability on glass to 0.
    contours: what is outlined, and how it is written. read_threads: those that read tiles ahead.
    """

    mpp: float
    slide_mpp: float
    overlap: float
    min_tissue: float
    gate: Gate
    clip_to_tissue: bool = True
    contours: ContourSettings = ContourSettings()
    read_threads: int = 1


def segment_slides(
    records: Sequence[SlideRecord], model: TileModel, settings: SlideSettings, store: SlideStore
) -> list[SlideRecord]:
    """Segment the slides that `store` does not hold finished; a failing one stops no other.

    Processes that share the work take slides by claim, those with the most tissue first, and the
    main one waits until all are done. Returns the slides that are done, now or before, or failed:
    all but those on which another run still works.
    """
    world = current_world()
    unfinished = store.find_unfinished(records)
    eta = EtaEstimator([record.name for record in unfinished], world.size)
    pending = list(records)
    if world.size > 1:
        # Those that the main process has seen, in all of them.
        names = gather_objects([record.name for record in unfinished])[0]
        log.info("%d of %d slides were finished before", len(records) - len(names), len(records))
        shared = [record for record in records if record.name in set(names)]
        pending = order_by_tissue(shared, settings.slide_mpp)

    _segment_each(pending, model, settings, store, eta)
    while world.size > 1 and world.is_main and (busy := store.pop_busy()):
        # One whose process has ended is segmented by this one.
        time.sleep(WAIT_S)
        _segment_each(busy, model, settings, store, eta)
    return store.drop_unfinished(records)


def order_by_tissue(records: Sequence[SlideRecord], slide_mpp: float) -> list[SlideRecord]:
    """The slides with the most tissue first, so that processes end at about the same time.

    The processes share the reading. A slide that cannot be read comes last.
    """
    part = part_of_process(records)
    areas = []
    for record in track(part, "tissue", len(part), unit="slide"):
        areas.append(measure_tissue(record, slide_mpp))
    by_name = dict(zip([r.name for r in records], gather_parts(areas), strict=True))
    return sorted(records, key=lambda record: -by_name[record.name])


def measure_tissue(record: SlideRecord, slide_mpp: float) -> float:
    """The slide's tissue in level-0 pixels, or in µm² if its pixel size is known; 0 if it cannot be
    read.
    """
    if record.status == FAILED:
        return 0.0
    try:
        with open_slide(require_slide_path(record), slide_mpp) as slide:
            tissue = find_tissue(slide)
            side_um = tissue.downsample * (slide.mpp or 1.0)
            return float(np.count_nonzero(tissue.mask)) * side_um**2
    except _SLIDE_ERRORS as error:
        # Its segmentation says why.
        log.debug("%s: %s", record.name, error)
        return 0.0


def _segment_each(
    records: Sequence[SlideRecord],
    model: TileModel,
    settings: SlideSettings,
    store: SlideStore,
    eta: EtaEstimator,
) -> None:
    for number, record in enumerate(records, start=1):
        position = f"{number}/{len(records)}"
        seconds = None
        with store.stage(record) as staged:
            if staged is not None:
                progress = SlideProgress(position, record.name, eta)
                seconds = _segment_or_fail(record, staged, model, settings, progress)

        eta.slide_ended(record.name, seconds)
        if seconds is not None:
            left = f", about {eta.time_left()} left" if eta.n_pending else ""
            log.info("%s: done in %.0f s, %s slides%s", record.name, seconds, position, left)


def _segment_or_fail(
    record: SlideRecord,
    staged: StagedSlide,
    model: TileModel,
    settings: SlideSettings,
    progress: SlideProgress,
) -> float | None:
    """Publish a slide's results, or why it failed. Returns the seconds it took, None if failed."""
    if record.status == FAILED:
        staged.fail(record.reason)
        return None

    timer = PhaseTimer(model.phases)
    try:
        with progress:
            row, frame = segment_slide(record, staged.folder, model, settings, timer, progress)
    except _SLIDE_ERRORS as error:
        # A full disk would fail every further slide, too.
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        staged.fail(describe_failure(record, error))
        return None

    staged.publish(row, frame, timer)
    return timer.total()


def segment_slide(
    record: SlideRecord,
    folder: Path,
    model: TileModel,
    settings: SlideSettings,
    timer: PhaseTimer,
    progress: SlideProgress,
) -> tuple[Row, ResultFrame]:
    """Write a slide's probability.tif, mask.tif, contours, overlay and tables into `folder`.

    Returns its row of slides.csv, and how its results lie on the slide. Raises SlideError if the
    slide cannot be read or its pixel size is unknown.
    """
    with open_slide(require_slide_path(record), settings.slide_mpp) as slide:
        with timer.phase("tissue"):
            tissue = find_tissue(slide)
        # Decoding has a column of its own in timings.csv; so far, all of it was for the tissue.
        decoding_fraction = slide.decoding_s / max(timer.seconds["tissue"], 1e-9)
        timer.move("tissue", "decode", decoding_fraction)

        grid = plan_tiles(slide, tissue, model.tile_size, settings.overlap, settings.mpp)
        progress.start(grid.count_with_tissue(settings.min_tissue))
        inference = SlideInference(
            slide,
            record.name,
            grid,
            model,
            settings.gate,
            settings.min_tissue,
            timer,
            progress.advance,
            settings.read_threads,
        )
        clip_tissue = tissue.close_gaps() if settings.clip_to_tissue else None
        write_probability(folder / PROBABILITY_FILE, inference, clip_tissue)

        with timer.phase("read"):
            overview = read_overview(slide)
        # Tiles are read while the model works, so "read" is how long the model had to wait for
        # them. Of that, decoding gets the fraction that it has of all reading.
        timer.move("read", "decode", slide.decoding_s / max(slide.reading_s, 1e-9))

        with timer.phase("write"):
            mask = write_results(folder, slide, overview, inference, tissue, settings.contours)
        row = slide_row(record, slide, grid, tissue, inference.classified, mask)
        return row, ResultFrame(grid.scale, grid.mpp, grid.side_px0)


def describe_failure(record: SlideRecord, error: BaseException) -> str:
    """One line on why a slide failed, and what to do."""
    message = " ".join(str(error).split())
    if isinstance(error, EpsamError):
        return message
    if isinstance(error, MemoryError):
        details = message or "none left"
        return f"{record.name}: too little memory for it ({details}); free some and run again"
    return (
        f"{record.name}: {message or type(error).__name__}; "
        "check the slide and its folder of results, and run again"
    )
