"""Which results of an inference its report shows, and their images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epsam.data.images import Rgb, read_mask, read_rgb, resize_rgb
from epsam.data.patches import Patch
from epsam.inference.image_results import mask_file
from epsam.pictures.panel import PanelRow, draw_panel
from epsam.training.panels import pick_evenly

ResultRow = Mapping[str, Any]

MAX_IMAGES, MAX_SLIDES = 5, 11
"""This project: how many are shown at most; odd, so that the middle one is among them."""
TILE_PX, SLIDE_PX = 300, 960


def select_cases(names: Sequence[str], dice: Mapping[str, float], most: int) -> list[str]:
    """Up to `most` names: evenly spaced over those with a Dice, from lowest to highest, else over
    all of them.
    """
    # By rank, not by choice: the reader sees the worst case, too.
    ranked = sorted(dice, key=lambda name: dice[name]) or list(names)
    return [ranked[index] for index in pick_evenly(len(ranked), most)]


def draw_image_cases(
    images: Sequence[Patch], rows: Sequence[ResultRow], dice: Mapping[str, float], output: Path
) -> dict[str, Rgb]:
    """Caption → image, ground truth and mask beside each other, of some of the images that are
    done; all read from `output`.
    """
    done = _done_by_name(rows, "image")
    done_images = {image.file_name: image for image in images if image.file_name in done}

    cases = {}
    for name in select_cases(list(done_images), dice, MAX_IMAGES):
        image = done_images[name]
        row = PanelRow(
            image.read(),
            ground_truth=image.ground_truth() if image.mask else None,
            mask=read_mask(mask_file(output, image)),
        )
        cases[_format_caption(name, dice)] = draw_panel([row], TILE_PX)
    return cases


def draw_slide_cases(
    rows: Sequence[ResultRow], dice: Mapping[str, float], output: Path
) -> dict[str, Rgb]:
    """Caption → overlay, of some of the slides that are done; all read from `output`."""
    done = _done_by_name(rows, "slide")
    cases = {}
    for name in select_cases(list(done), dice, MAX_SLIDES):
        caption = f"{_format_caption(name, dice)}; {_describe_slide(done[name])}"
        cases[caption] = _shrink(read_rgb(output / name / "overlay.jpg"))
    return cases


def _done_by_name(rows: Sequence[ResultRow], key: str) -> dict[str, ResultRow]:
    """The rows of what is done, by their value of `key`."""
    return {row[key]: row for row in rows if row["status"] == "done"}


def _format_caption(name: str, dice: Mapping[str, float]) -> str:
    return f"{name}: Dice {dice[name]:.3f}" if name in dice else name


def _describe_slide(row: ResultRow) -> str:
    return (
        f"tumour {float(row['tumour_mm2']):.2f} of {float(row['tissue_mm2']):.2f} mm² of tissue "
        f"({100 * float(row['tumour_share']):.0f} %), {row['regions']} regions"
    )


def _shrink(image: Rgb) -> Rgb:
    """The image with its longer side at SLIDE_PX at most."""
    height, width = image.shape[:2]
    scale = min(1.0, SLIDE_PX / max(height, width))
    return resize_rgb(image, max(1, round(height * scale)), max(1, round(width * scale)))
