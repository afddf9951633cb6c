"""What is taken from one slide: the chosen windows as images and truth masks."""

from dataclasses import dataclass
from pathlib import Path

from epsam.annotations.asap_reader import Annotations, rasterize_tumour, read_annotations
from epsam.config.patches import PatchOptions
from epsam.core.errors import EpsamError
from epsam.data.images import read_rgb, write_mask, write_rgb
from epsam.extraction.candidates import CandidateTiles, require_slide_path
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.thumbnail import NEGATIVE, POSITIVE, draw_windows
from epsam.wsi.reader import Slide, open_slide, read_tile


@dataclass(frozen=True)
class TileSelection:
    """The windows to cut out of one slide: first the positives, then the negatives."""

    record: SlideRecord
    positives: CandidateTiles
    negatives: CandidateTiles
    mpp: float | None


def extract_tiles(
    task: TileSelection, options: PatchOptions, folder: Path
) -> tuple[list[dict[str, object]], str]:
    """Cut the chosen windows out of a slide into `folder`/<split>/{image,mask} and mark them on its
    thumbnail.

    Returns a row of patches.csv for every patch, and the error of a slide whose pixels turn out to
    be damaged: its patches are then taken back and there are no rows.
    """
    split = folder / task.record.split
    rows: list[dict[str, object]] = []
    try:
        outlines = (
            read_annotations(task.record.annotations) if task.record.annotations else Annotations()
        )
        with open_slide(require_slide_path(task.record), options.slide_mpp) as slide:
            for label, windows in ((1, task.positives), (0, task.negatives)):
                for number in range(len(windows)):
                    rows.append(patch_row(task, windows, number, label))
                    _write(slide, rows[-1], outlines, split, options.patch_size)
            _mark_thumbnail(folder / "thumbnails" / f"{task.record.name}.png", task, slide.width0)
    except EpsamError as error:
        for row in rows:
            for kind in ("image", "mask"):
                (split / kind / f"{row['id']}_{row['label']}.png").unlink(missing_ok=True)
        return [], " ".join(str(error).split())
    return rows, ""


def _write(
    slide: Slide, row: dict[str, object], outlines: Annotations, split: Path, size: int
) -> None:
    name = f"{row['id']}_{row['label']}.png"
    left_px0, top_px0, side_px0 = (int(str(row[column])) for column in ("x", "y", "size"))
    write_rgb(split / "image" / name, read_tile(slide, left_px0, top_px0, side_px0, size))
    if row["label"]:
        write_mask(
            split / "mask" / name,
            rasterize_tumour(outlines, left_px0, top_px0, size, size, side_px0 / size),
        )


def patch_row(
    task: TileSelection, windows: CandidateTiles, number: int, label: int
) -> dict[str, object]:
    """One patch as a row of patches.csv; x, y and size are in level-0 pixels, mpp is the
    patch's.
    """
    left_px0, top_px0 = int(windows.left_px0[number]), int(windows.top_px0[number])
    return {
        "id": f"{task.record.name}_x{left_px0}_y{top_px0}",
        "slide": task.record.name,
        "split": task.record.split,
        "label": label,
        "x": left_px0,
        "y": top_px0,
        "size": windows.side_px0,
        "mpp": f"{task.mpp:.4f}" if task.mpp else "",
        "tumour": f"{windows.tumour[number]:.4f}",
        "tissue": f"{windows.tissue[number]:.4f}",
    }


def _mark_thumbnail(path: Path, task: TileSelection, width0: int) -> None:
    image = read_rgb(path)
    for windows, colour in ((task.negatives, NEGATIVE), (task.positives, POSITIVE)):
        scale = image.shape[1] / width0
        image = draw_windows(
            image, windows.left_px0, windows.top_px0, windows.side_px0, scale, colour
        )
    write_rgb(path, image)
