"""Where a correction would help most: what the model is least sure of, and nobody has looked at."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from epsam.config.common import SPLITS
from epsam.corrections.patches import TRAIN, read_corrected_patches
from epsam.corrections.reading import list_correction_files, read_corrections
from epsam.corrections.shapes import CorrectedShape, paint_shapes
from epsam.data.patches import read_patch_size
from epsam.view.catalogue import Catalogue, ViewedImage
from epsam.view.open_images import OpenImages
from epsam.view.run_patches import RunPatch, TrainingRun
from epsam.view.uncertainty import ENTROPY_PER_VALUE, choose_squares
from epsam.wsi.tissue import TissueMask, find_tissue

PLACE_PX = 512
"""This project: side of a place in a slide, in pixels of its probability."""
PLACES_PER_SLIDE = 5
NEXT_COLUMNS = ("rank", "image", "x", "y", "side", "score", "by", "address")


class NextPlace(NamedTuple):
    """A place to correct: its corner and side in pixels of the image (level 0 of a slide).

    score: higher is more useful. by: what it is measured by. address: the end of the page's address
    that shows it.
    """

    image: str
    x: int
    y: int
    side: int
    score: float
    by: str
    address: str


def rank_patches(run: TrainingRun, corrected: Set[str]) -> list[tuple[int, float, str]]:
    """(number of the patch, score, what it is measured by), the most useful first.

    Of training patches with tumour: only these have pseudo-labels, and scores that compare.
    `corrected` ones have been looked at.
    """
    ranked = []
    for number, patch in enumerate(run.patches):
        if patch.split != TRAIN or patch.patch.label != 1 or patch.patch.name in corrected:
            continue
        score = _score_patch(run, patch)
        if score is not None:
            ranked.append((number, *score))
    # Stable: patches of one score stay in the order of their names.
    return sorted(ranked, key=lambda item: -item[1])


def list_corrected_patches(run: TrainingRun, folder: Path) -> set[str]:
    """The training patches of which a person has looked at a part."""
    train = [patch.patch for patch in run.patches if patch.split == TRAIN]
    if not folder.is_dir() or not train:
        return set()
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    for patch in run.patches:
        # Those outside of the dataset are corrected where they come from.
        if patch.split in names:
            names[patch.split].append(patch.patch.name)
    side = read_patch_size(train)
    return set(read_corrected_patches(folder, names, run.data.patch_table, side).pixels)


def next_patches(run: TrainingRun, corrections: Path) -> list[NextPlace]:
    """The training patches of a run that nobody has corrected, the most useful first."""
    places = []
    for number, score, measure in rank_patches(run, list_corrected_patches(run, corrections)):
        patch = run.patches[number].patch
        side = read_patch_size([patch])
        address = f"#split={TRAIN}&label=1&order=next&patch={patch.name}"
        places.append(NextPlace(patch.name, 0, 0, side, score, measure, address))
    return places


def next_places(catalogue: Catalogue, corrections: Path) -> list[NextPlace]:
    """Places in segmented slides, at most `PLACES_PER_SLIDE` of each, the most useful first."""
    files = OpenImages()
    paths = list_correction_files(corrections) if corrections.is_dir() else {}
    places: list[NextPlace] = []
    for image in catalogue.images:
        if image.probability is None:
            continue
        path = paths.get(image.correction_name)
        shapes = read_corrections(path) if path else []
        of_slide = list(_rank_squares(files, image, image.probability, shapes))
        of_slide.sort(key=lambda place: -place.score)
        places += of_slide[:PLACES_PER_SLIDE]
    files.close()
    return sorted(places, key=lambda place: -place.score)


def _score_patch(run: TrainingRun, patch: RunPatch) -> tuple[float, str] | None:
    """Entropy of the newest probabilities that are stored, else how far the newest pseudo-label is
    from the initial mask, else the entropy of the classifier's probability.
    """
    if patch.uncertainty is not None and run.has_probabilities(patch):
        return patch.uncertainty, "entropy of the pixels"
    if patch.ids:
        return 1 - patch.ids[max(patch.ids)], "1 - IDS"
    if patch.uncertainty is not None:
        return patch.uncertainty, "entropy of the classifier"
    return None


def _rank_squares(
    files: OpenImages, image: ViewedImage, probability: Path, shapes: list[CorrectedShape]
) -> Iterator[NextPlace]:
    with files.open(image.path) as slide:
        tissue: TissueMask = find_tissue(slide)
    scale = image.frame.scale
    with files.open(probability) as slide:
        width, height = slide.width0, slide.height0
    for left, top in choose_squares(tissue, width, height, scale, PLACE_PX):
        # The middle stands for the square.
        middle = ((left + PLACE_PX / 2) * scale, (top + PLACE_PX / 2) * scale)
        if paint_shapes(shapes, middle[0] - 0.5, middle[1] - 0.5, 1, 1).reviewed.any():
            continue
        values = files.read_grey_square(probability, left, top, PLACE_PX, PLACE_PX)
        values = values[: height - top, : width - left]
        on_tissue = tissue.resample(top, values.shape, scale, left)
        # Over all of the square: a sliver of tissue is no place to go to.
        bits = float(ENTROPY_PER_VALUE[values[on_tissue]].sum()) / PLACE_PX**2
        yield NextPlace(
            image.name,
            round(left * scale),
            round(top * scale),
            round(PLACE_PX * scale),
            bits,
            "entropy of the pixels",
            f"#image={image.name}&x={middle[0]:.0f}&y={middle[1]:.0f}&zoom={1 / scale:.3g}",
        )


def table_rows(places: list[NextPlace], count: int) -> list[dict[str, object]]:
    """The first `count` places as rows of a table of `NEXT_COLUMNS`."""
    rows = []
    for rank, place in enumerate(places[:count], start=1):
        row: dict[str, object] = {"rank": rank, **place._asdict()}
        row["score"] = f"{np.float64(place.score):.4f}"
        rows.append(row)
    return rows
