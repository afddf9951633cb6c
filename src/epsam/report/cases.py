"""Which results of an inference are shown on its report, and their pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epsam.data.images import Rgb, read_mask, read_rgb, resize_rgb
from epsam.data.patches import Patch
from epsam.inference.image_results import mask_file
from epsam.pictures.panel import PanelRow, draw_panel
from epsam.training.panels import pick_evenly

Row = Mapping[str, Any]

IMAGES, SLIDES = 5, 11
"""Ours: most images and slides that are shown; odd, so that the one in the middle is among them."""
TILE_PX, SLIDE_PX = 300, 960


def pictured(names: Sequence[str], dice: Mapping[str, float], most: int) -> list[str]:
    """Up to `most` names: evenly spaced over those with a Dice, from lowest to highest, else over
    all of them.
    """
    ranked = sorted(dice, key=lambda name: dice[name]) or list(names)
    return [ranked[index] for index in pick_evenly(len(ranked), most)]


def draw_image_cases(
    images: Sequence[Patch], rows: Sequence[Row], dice: Mapping[str, float], output: Path
) -> dict[str, Rgb]:
    """Caption → image, truth and mask beside each other, of some of the images that are done; all
    read from disk.
    """
    done = {row["image"] for row in rows if row["status"] == "done"}
    found = {image.image.name: image for image in images if image.image.name in done}
    return {
        _caption(name, dice): draw_panel([_read_row(found[name], output)], TILE_PX)
        for name in pictured(list(found), dice, IMAGES)
    }


def draw_slide_cases(
    rows: Sequence[Row], dice: Mapping[str, float], output: Path
) -> dict[str, Rgb]:
    """Caption → overlay, of some of the slides that are done; all read from disk."""
    done = {row["slide"]: row for row in rows if row["status"] == "done"}
    return {
        f"{_caption(name, dice)}; {_told(done[name])}": _shrunk(
            read_rgb(output / name / "overlay.jpg")
        )
        for name in pictured(list(done), dice, SLIDES)
    }


def _read_row(image: Patch, output: Path) -> PanelRow:
    mask = read_mask(mask_file(output, image))
    return PanelRow(image.read(), image.ground_truth() if image.mask else None, mask=mask)


def _caption(name: str, dice: Mapping[str, float]) -> str:
    return f"{name}: Dice {dice[name]:.3f}" if name in dice else name


def _told(row: Row) -> str:
    return (
        f"tumour {float(row['tumour_mm2']):.2f} of {float(row['tissue_mm2']):.2f} mm² of tissue "
        f"({100 * float(row['tumour_share']):.0f} %), {row['regions']} regions"
    )


def _shrunk(image: Rgb) -> Rgb:
    scale = min(1.0, SLIDE_PX / max(image.shape[:2]))
    return resize_rgb(image, *(max(1, round(length * scale)) for length in image.shape[:2]))
