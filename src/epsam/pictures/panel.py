"""Panels: patches beside their truth, activation, masks and points, for the eye.

Tiles are drawn at the panel's scale, so that lines and dots are equally sharp whatever the patch's
size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask, Rgb, resize_mask, resize_rgb
from epsam.pictures.text import Colour, write_centred

Points = npt.NDArray[np.float32]

GROUND_TRUTH: Colour = (0, 158, 115)
INITIAL_MASK: Colour = (230, 140, 0)
PREDICTED: Colour = (0, 90, 200)
DOT: Colour = (255, 225, 60)
"""Ours, chosen to be told apart on pink and purple, also by the colour-blind (after Okabe &
Ito).
"""

PAPER = 255
ABSENT = 214
GAP_PX = 6
TITLE_PX = 26


@dataclass(frozen=True)
class PanelRow:
    """What a panel shows of one patch; None where there is nothing to show.

    `image` (height, width, 3); `truth`, `initial` (the classifier's mask) and `mask` (SAM's) are
    bool of the same sides; `activation` is any (h, w) map in [0, 1]; `points_xy_patch` (n, 2) in
    patch pixels.
    """

    image: Rgb
    ground_truth: Mask | None = None
    cam: npt.NDArray[np.floating] | None = None
    initial_mask: Mask | None = None
    points_xy_patch: Points | None = None
    mask: Mask | None = None


def overlay_mask(image: Rgb, mask: Mask, colour: Colour = PREDICTED, tint: float = 0.22) -> Rgb:
    """The image with the mask as a light tint and an outline; both (height, width). An empty mask
    changes nothing.
    """
    weight = (tint * mask.astype(np.float32))[:, :, None]
    shown = _rounded(image * (1 - weight) + np.array(colour, np.float32) * weight)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thickness = max(2, round(max(mask.shape) / 256))
    cv2.drawContours(shown, contours, -1, colour, thickness, cv2.LINE_AA)
    return shown


def overlay_cam(image: Rgb, activation: npt.NDArray[np.floating], weight: float = 0.6) -> Rgb:
    """The image under its activation map, (h, w) in [0, 1], grown bilinearly to the image; yellow
    is active.
    """
    height, width = image.shape[:2]
    grown = cv2.resize(
        np.asarray(activation, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    levels = np.rint(np.clip(np.nan_to_num(grown), 0, 1) * 255).astype(np.uint8)
    colours = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, :, ::-1], np.float32)
    return _rounded(image * (1 - weight) + colours * weight)


def draw_points(image: Rgb, points_xy: Points, colour: Colour = DOT, radius: int = 3) -> Rgb:
    """The image with a dot of dark rim at each point (n, 2), x and y in the image's pixels."""
    shown: Rgb = np.array(image)
    for x, y in np.rint(np.asarray(points_xy, np.float64)).astype(int).reshape(-1, 2).tolist():
        cv2.circle(shown, (x, y), radius + 1, (20, 20, 20), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(shown, (x, y), radius, colour, cv2.FILLED, cv2.LINE_AA)
    return shown


def blank_tile(text: str, side: int) -> Rgb:
    """A grey square tile that says why nothing is shown."""
    tile = np.full((side, side, 3), ABSENT, np.uint8)
    write_centred(tile, text, side / 2, side / 2, colour=(110, 110, 110))
    return tile


def panel(columns: Sequence[tuple[str, Rgb]], side: int = 208) -> Rgb:
    """One row of images under their titles, each scaled into a square of `side` px."""
    return grid([title for title, _ in columns], [[image for _, image in columns]], side)


def grid(titles: Sequence[str], rows: Sequence[Sequence[Rgb]], side: int = 208) -> Rgb:
    """Rows of images under one line of titles, each image scaled into a square of `side` px; no
    rows: titles only.
    """
    width = len(titles) * (side + GAP_PX) + GAP_PX
    canvas = np.full((TITLE_PX + len(rows) * (side + GAP_PX), width, 3), PAPER, np.uint8)
    for column, title in enumerate(titles):
        left = GAP_PX + column * (side + GAP_PX)
        write_centred(canvas, title, left + side / 2, TITLE_PX / 2)
        for row, images in enumerate(rows):
            top = TITLE_PX + row * (side + GAP_PX)
            canvas[top : top + side, left : left + side] = _fitted(images[column], side)
    return canvas


def draw_panel(rows: Sequence[PanelRow], side: int = 208) -> Rgb:
    """A row for each patch. Columns that no row fills are left out, the truth excepted: its absence
    is news.

    Without rows the panel says so.
    """
    if not rows:
        return panel([("", blank_tile("no patches", side))], side)
    tiles = [_tiles(_scaled(row, side), side) for row in rows]
    titles = [
        title
        for title in tiles[0]
        if title in ("patch", "truth") or any(t[title] is not None for t in tiles)
    ]
    return grid(
        titles, [[_shown(drawn[title], title, side) for title in titles] for drawn in tiles], side
    )


def _shown(tile: Rgb | None, title: str, side: int) -> Rgb:
    return blank_tile(f"no {title}", side) if tile is None else tile


def _tiles(row: PanelRow, side: int) -> dict[str, Rgb | None]:
    """Every column of one patch, drawn; None where the row has nothing to show."""
    image = row.image
    points = row.points_xy_patch
    prompted = blank_tile("no points", side) if points is not None and not len(points) else None
    if points is not None and len(points):
        prompted = draw_points(image, points)
    return {
        "patch": image,
        "truth": None
        if row.ground_truth is None
        else overlay_mask(image, row.ground_truth, GROUND_TRUTH),
        "activation": None if row.cam is None else overlay_cam(image, row.cam),
        "initial mask": None
        if row.initial_mask is None
        else overlay_mask(image, row.initial_mask, INITIAL_MASK),
        "points": prompted,
        "SAM mask": None if row.mask is None else overlay_mask(image, row.mask, PREDICTED),
    }


def _scaled(row: PanelRow, side: int) -> PanelRow:
    """The row with its longer side at `side` px, so that lines are drawn at the panel's scale."""
    scale = side / max(row.image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in row.image.shape[:2])
    masks = (
        None if m is None else resize_mask(m, height, width)
        for m in (row.ground_truth, row.initial_mask, row.mask)
    )
    truth, initial, mask = masks
    points = None if row.points_xy_patch is None else np.float32(row.points_xy_patch * scale)
    return PanelRow(resize_rgb(row.image, height, width), truth, row.cam, initial, points, mask)


def _rounded(values: npt.NDArray[np.floating]) -> Rgb:
    return np.asarray(np.rint(values), dtype=np.uint8)


def _fitted(image: Rgb, side: int) -> Rgb:
    """The image scaled into the middle of a white square."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    square = np.full((side, side, 3), PAPER, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = resize_rgb(image, height, width)
    return square
