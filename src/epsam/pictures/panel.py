"""Panels: patches beside their ground truth, CAM, masks and points, for the eye.

Tiles are drawn at the panel's scale, so that lines and points are equally sharp whatever the
patch's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask, Rgb, resize_mask, resize_rgb
from epsam.pictures.text import Colour, write_centred

Points = npt.NDArray[np.float32]

# This project: told apart on pink and purple, also by the colour-blind (after Okabe & Ito).
GROUND_TRUTH: Colour = (0, 158, 115)
INITIAL_MASK: Colour = (230, 140, 0)
PREDICTED: Colour = (0, 90, 200)
POINT: Colour = (255, 225, 60)
POINT_RIM: Colour = (20, 20, 20)

PAPER = 255
ABSENT = 214
GAP_PX = 6
TITLE_PX = 26
ALWAYS_SHOWN = ("patch", "ground truth")
"""Columns that stay even if no row fills them: a missing ground truth is news."""


@dataclass(frozen=True)
class PanelRow:
    """What a panel shows of one patch; None where there is nothing to show.

    image: (height, width, 3). ground_truth, initial_mask (the classifier's) and mask (SAM's): bool
    of the same sides. cam: any (h, w) in [0, 1]. points_xy_patch: (n, 2) in patch pixels.
    """

    image: Rgb
    ground_truth: Mask | None = None
    cam: npt.NDArray[np.floating] | None = None
    initial_mask: Mask | None = None
    points_xy_patch: Points | None = None
    mask: Mask | None = None


def overlay_mask(image: Rgb, mask: Mask, colour: Colour = PREDICTED, tint: float = 0.22) -> Rgb:
    """The image with the mask as a light tint and a contour; both (height, width).

    An empty mask changes nothing.
    """
    weight = (tint * mask.astype(np.float32))[:, :, None]
    tinted = _round_to_uint8(image * (1 - weight) + np.array(colour, np.float32) * weight)

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    # Thick enough to be seen in a large image that is shown small.
    thickness = max(2, round(max(mask.shape) / 256))
    cv2.drawContours(tinted, contours, -1, colour, thickness, cv2.LINE_AA)
    return tinted


def overlay_cam(image: Rgb, cam: npt.NDArray[np.floating], weight: float = 0.6) -> Rgb:
    """The image under its CAM, (h, w) in [0, 1], upsampled bilinearly to the image; yellow is
    high.
    """
    height, width = image.shape[:2]
    upsampled = cv2.resize(
        np.asarray(cam, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    levels = np.rint(np.clip(np.nan_to_num(upsampled), 0, 1) * 255).astype(np.uint8)
    # OpenCV's colour maps are BGR.
    bgr = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
    colours = np.asarray(bgr[:, :, ::-1], np.float32)
    return _round_to_uint8(image * (1 - weight) + colours * weight)


def draw_points(image: Rgb, points_xy: Points, colour: Colour = POINT, radius: int = 3) -> Rgb:
    """The image with a dot of dark rim at each point (n, 2), x and y in the image's pixels."""
    canvas: Rgb = np.array(image)
    centres = np.rint(np.asarray(points_xy, np.float64)).astype(int).reshape(-1, 2)
    for x, y in centres.tolist():
        cv2.circle(canvas, (x, y), radius + 1, POINT_RIM, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, (x, y), radius, colour, cv2.FILLED, cv2.LINE_AA)
    return canvas


def blank_tile(text: str, side: int) -> Rgb:
    """A grey square tile that says why nothing is shown."""
    tile = np.full((side, side, 3), ABSENT, np.uint8)
    write_centred(tile, text, side / 2, side / 2, colour=(110, 110, 110))
    return tile


def draw_grid(titles: Sequence[str], rows: Sequence[Sequence[Rgb]], side: int = 208) -> Rgb:
    """Rows of images under one line of titles, each image scaled into a square of `side` px; no
    rows: titles only.
    """
    width = len(titles) * (side + GAP_PX) + GAP_PX
    height = TITLE_PX + len(rows) * (side + GAP_PX)
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    for column, title in enumerate(titles):
        left = GAP_PX + column * (side + GAP_PX)
        write_centred(canvas, title, left + side / 2, TITLE_PX / 2)
        for row, images in enumerate(rows):
            top = TITLE_PX + row * (side + GAP_PX)
            canvas[top : top + side, left : left + side] = _fit_in_square(images[column], side)
    return canvas


def draw_panel(rows: Sequence[PanelRow], side: int = 208) -> Rgb:
    """A panel with a row for each patch. Columns that no row fills are left out, but for those of
    ALWAYS_SHOWN.

    Without rows the panel says so.
    """
    if not rows:
        return draw_grid([""], [[blank_tile("no patches", side)]], side)

    drawn_rows = [_draw_tiles(_scale_row(row, side), side) for row in rows]
    titles = []
    for title in drawn_rows[0]:
        is_filled = any(tiles[title] is not None for tiles in drawn_rows)
        if is_filled or title in ALWAYS_SHOWN:
            titles.append(title)

    images = []
    for tiles in drawn_rows:
        row_images = []
        for title in titles:
            tile = tiles[title]
            row_images.append(blank_tile(f"no {title}", side) if tile is None else tile)
        images.append(row_images)
    return draw_grid(titles, images, side)


def _draw_tiles(row: PanelRow, side: int) -> dict[str, Rgb | None]:
    """Every column of one patch by title; None where the row has nothing to show."""
    tiles: dict[str, Rgb | None] = dict.fromkeys(
        ("patch", "ground truth", "CAM", "initial mask", "points", "predicted mask")
    )
    tiles["patch"] = row.image
    if row.ground_truth is not None:
        tiles["ground truth"] = overlay_mask(row.image, row.ground_truth, GROUND_TRUTH)
    if row.cam is not None:
        tiles["CAM"] = overlay_cam(row.image, row.cam)
    if row.initial_mask is not None:
        tiles["initial mask"] = overlay_mask(row.image, row.initial_mask, INITIAL_MASK)
    if row.points_xy_patch is not None:
        # A patch that was prompted with no point is not one that was not prompted.
        if len(row.points_xy_patch):
            tiles["points"] = draw_points(row.image, row.points_xy_patch)
        else:
            tiles["points"] = blank_tile("no points", side)
    if row.mask is not None:
        tiles["predicted mask"] = overlay_mask(row.image, row.mask, PREDICTED)
    return tiles


def _scale_row(row: PanelRow, side: int) -> PanelRow:
    """The row with its longer side at `side` px, so that lines are drawn at the panel's scale."""
    # The CAM is not scaled: it is upsampled to the image when it is drawn.
    scale = side / max(row.image.shape[:2])
    height, width = _scaled_size(row.image, scale)

    def scale_mask(mask: Mask | None) -> Mask | None:
        return None if mask is None else resize_mask(mask, height, width)

    points = None if row.points_xy_patch is None else np.float32(row.points_xy_patch * scale)
    return PanelRow(
        image=resize_rgb(row.image, height, width),
        ground_truth=scale_mask(row.ground_truth),
        cam=row.cam,
        initial_mask=scale_mask(row.initial_mask),
        points_xy_patch=points,
        mask=scale_mask(row.mask),
    )


def _fit_in_square(image: Rgb, side: int) -> Rgb:
    """The image scaled into the middle of a white square."""
    height, width = _scaled_size(image, side / max(image.shape[:2]))
    square = np.full((side, side, 3), PAPER, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = resize_rgb(image, height, width)
    return square


def _scaled_size(image: Rgb, scale: float) -> tuple[int, int]:
    """Height and width of the scaled image, px, each at least 1."""
    height, width = image.shape[:2]
    return max(1, round(height * scale)), max(1, round(width * scale))


def _round_to_uint8(values: npt.NDArray[np.floating]) -> Rgb:
    return np.asarray(np.rint(values), dtype=np.uint8)
