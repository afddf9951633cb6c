"""Write the selected tiles of each slide as patches: images, ground-truth masks, table rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.config.keys import part_key
from epsam.config.patches import PatchOptions
from epsam.core.artifact import Artifact, Key
from epsam.core.errors import EpsamError
from epsam.core.files import digest_of
from epsam.core.parallel import parallel_map
from epsam.data.images import write_mask, write_rgb
from epsam.extraction.candidates import CandidateTiles, load_annotations, require_slide_path
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.tile_marks import mark_tiles
from epsam.wsi.reader import Slide, open_slide, read_tile

PatchRow = dict[str, object]
"""One row of patches.csv."""


@dataclass(frozen=True)
class TileSelection:
    """The tiles of one slide that become patches; `patch_mpp` in µm, None if unknown."""

    record: SlideRecord
    positives: CandidateTiles
    negatives: CandidateTiles
    patch_mpp: float | None


@dataclass(frozen=True)
class WrittenPatches:
    """The rows of one slide's patches, or the `error` for which the slide has none."""

    slide: str
    rows: list[PatchRow]
    error: str = ""


def write_all_patches(
    selections: Sequence[TileSelection], options: PatchOptions, staging: Path
) -> list[WrittenPatches]:
    """Write the patches of all slides into `staging`, in several processes; same order as given."""
    write = partial(write_or_resume, options=options, staging=staging)
    return list(parallel_map(write, selections, options.workers, "writing patches"))


def write_or_resume(
    selection: TileSelection, options: PatchOptions, staging: Path
) -> WrittenPatches:
    """Write a slide's patches, or load their rows if an interrupted run wrote them.

    A slide that failed is tried again.
    """
    artifact = Artifact(
        staging / "cut" / f"{selection.record.name}.json", _patches_key(selection, options)
    )
    record = artifact.read_current()
    if record is not None:
        return WrittenPatches(selection.record.name, record["rows"])
    written = write_slide_patches(selection, options, staging)
    # Last, so that a kill in between leaves no record of half a slide.
    if not written.error:
        artifact.complete(content={"rows": written.rows})
    return written


def _patches_key(selection: TileSelection, options: PatchOptions) -> Key:
    """What decides the patches of a slide, in a staging folder that is for one state of the slides:
    the tiles, and at what size they are read.
    """
    lines = [selection.record.split]
    for tiles in (selection.positives, selection.negatives):
        lines.append(repr((tiles.side_px0, tiles.left_px0.tolist(), tiles.top_px0.tolist())))
    return part_key(options, "candidates", {"tiles": digest_of(lines)})


def write_slide_patches(
    selection: TileSelection, options: PatchOptions, staging: Path
) -> WrittenPatches:
    """Write the selected tiles of a slide into `staging`/<split>/{image,mask}.

    Marks them on the slide's thumbnail, too. If pixels turn out to be damaged, its patches are
    removed again and the error is returned instead of rows.
    """
    record = selection.record
    split_folder = staging / record.split
    rows: list[PatchRow] = []
    try:
        path = require_slide_path(record)
        annotations = load_annotations(record)
        with open_slide(path, options.slide_mpp) as slide:
            for label, tiles in ((1, selection.positives), (0, selection.negatives)):
                for number in range(len(tiles)):
                    # Before the files are written, so that half a patch is removed, too.
                    rows.append(patch_row(selection, tiles, number, label))
                    _write_patch(slide, rows[-1], annotations, split_folder, options.patch_size)
            thumbnail = staging / "thumbnails" / f"{record.name}.png"
            mark_tiles(thumbnail, selection.positives, selection.negatives, slide.width0)
    except EpsamError as error:
        for row in rows:
            for kind in ("image", "mask"):
                (split_folder / kind / _file_name(row)).unlink(missing_ok=True)
        return WrittenPatches(record.name, [], " ".join(str(error).split()))
    return WrittenPatches(record.name, rows)


def _write_patch(
    slide: Slide, row: PatchRow, annotations: Annotations, split_folder: Path, size: int
) -> None:
    left_px0, top_px0, side_px0 = int(str(row["x"])), int(str(row["y"])), int(str(row["size"]))
    image = read_tile(slide, left_px0, top_px0, side_px0, size)
    write_rgb(split_folder / "image" / _file_name(row), image)
    # A negative has no mask: it holds no tumour.
    if row["label"]:
        mask = rasterize_tumour(annotations, left_px0, top_px0, size, size, side_px0 / size)
        write_mask(split_folder / "mask" / _file_name(row), mask)


def _file_name(row: PatchRow) -> str:
    return f"{row['id']}_{row['label']}.png"


def patch_row(selection: TileSelection, tiles: CandidateTiles, number: int, label: int) -> PatchRow:
    """The row of patches.csv for a tile: x, y and size in level-0 pixels, mpp of the patch."""
    left_px0, top_px0 = int(tiles.left_px0[number]), int(tiles.top_px0[number])
    record = selection.record
    return {
        "id": f"{record.name}_x{left_px0}_y{top_px0}",
        "slide": record.name,
        "split": record.split,
        "label": label,
        "x": left_px0,
        "y": top_px0,
        "size": tiles.side_px0,
        "mpp": f"{selection.patch_mpp:.4f}" if selection.patch_mpp else "",
        "tumour": f"{tiles.tumour_fraction[number]:.4f}",
        "tissue": f"{tiles.tissue_fraction[number]:.4f}",
    }
