"""The site of a training run: a gallery of its patches."""

import re
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from epsam.annotations.polygons import Polygon
from epsam.core.errors import ImageError
from epsam.corrections.patches import name_in_corrections
from epsam.corrections.store import CorrectionStore
from epsam.data.images import (
    Mask,
    Rgb,
    encode_jpeg,
    read_image_size,
    read_mask,
    resize_mask,
    resize_rgb,
)
from epsam.pictures.panel import (
    GROUND_TRUTH,
    INITIAL_MASK,
    PREDICTED,
    blank_tile,
    draw_points,
    overlay_cam,
    overlay_mask,
)
from epsam.pictures.text import Colour
from epsam.tables import INITIAL, PRELIMINARY
from epsam.training.example_targets import load_correction
from epsam.training.round_data import CORRECTED
from epsam.view.corrections import CorrectionPages
from epsam.view.next_corrections import list_corrected_patches, rank_patches
from epsam.view.pages import render_page, script_of, static_file
from epsam.view.regions import region_of_mask
from epsam.view.run_patches import RunPatch, TrainingRun, sample_points
from epsam.view.server import HTML, JPEG, SCRIPT, Answer

PICTURE_PX = 256
"""This project: side of a picture of the gallery; smaller patches are enlarged."""
LARGE_PX = 1024
"""This project: side of the picture that corrections are drawn on, at least."""
QUALITY = 85
REVIEWED: Colour = (86, 180, 233)
"""As in corrections.js, after Okabe & Ito."""
_PICTURE = re.compile(r"pictures/(\d{1,9})/([a-z_]+?)(?:_(\d{1,3}))?\.jpg")


class RunSite:
    """Answers the page about the patches of a run."""

    def __init__(self, run: TrainingRun, store: CorrectionStore | None = None) -> None:
        """store: where corrections are written; None: the page only shows."""
        self.run = run
        self.corrections: CorrectionPages | None = None
        if store is not None:
            names = _names_in_corrections(run)
            self.corrections = CorrectionPages(store, names, self._find_region)
        # The first points import PyTorch, which takes seconds; other pictures need not wait.
        self._lock = threading.Lock()
        self._draw = lru_cache(maxsize=2000)(self._draw_picture)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer | None:
        if path == "":
            title = f"{self.run.run.root.name}: patches"
            can_correct = self.corrections is not None
            page = render_page("gallery.html.j2", title=title, corrections=can_correct)
            return Answer(page, HTML)
        if path == "patches.js":
            return Answer(script_of("epsam.setPatches", self.describe()), SCRIPT)
        if match := _PICTURE.fullmatch(path):
            number = int(match[1])
            if number >= len(self.run.patches):
                return None
            content = self._draw(number, match[2], int(match[3] or 0))
            return None if content is None else Answer(content, JPEG, is_fixed=True)
        if self.corrections and (answer := self.corrections.answer(path)):
            return answer
        return static_file(path)

    def write(self, path: str, content: Mapping[str, Any]) -> Answer | None:
        """Write a correction; see `CorrectionPages.write`."""
        return self.corrections.write(path, content) if self.corrections else None

    def start(self) -> None:
        """Nothing takes long here."""

    def describe(self) -> dict[str, Any]:
        """The patches with their scores and pictures, for the page."""
        rows = []
        ranks = self._rank_next()
        for number, patch in enumerate(self.run.patches):
            last = max(patch.ids, default=None)
            width, height = _size_of(patch)
            rows.append(
                {
                    "width": width,
                    "height": height,
                    "name": patch.patch.name,
                    "split": patch.split,
                    "label": patch.patch.label,
                    "dice": _last_dice(patch),
                    "ids": None if last is None else patch.ids[last],
                    "uncertainty": patch.uncertainty,
                    "next": ranks.get(number),
                    "pictures": self._list_pictures(patch),
                }
            )
        return {"title": str(self.run.run.root), "patches": rows}

    def _rank_next(self) -> dict[int, int]:
        """Rank of the patches that a correction would help most, from 1 on, by their numbers."""
        if self.corrections is None:
            return {}
        corrected = list_corrected_patches(self.run, self.corrections.store.folder)
        ranked = rank_patches(self.run, corrected)
        return {number: rank for rank, (number, *_) in enumerate(ranked, start=1)}

    def _list_pictures(self, patch: RunPatch) -> list[dict[str, Any]]:
        """Title, file and caption of a patch's pictures, in the order in which they were made."""
        pictures = [_picture("patch", "patch")]
        if self.run.cam(patch) is not None:
            pictures.append(_picture("CAM", "cam"))
        if self.run.initial_mask(patch).is_file():
            caption = _format("Dice", patch.dice.get(INITIAL))
            pictures.append(_picture("initial mask", "initial", caption))
        if self._has_correction(patch):
            pictures.append(_picture("corrected", "correction"))
        is_prompted = patch.patch.label == 1 and patch.split != CORRECTED
        if is_prompted and "decoder_0" in self.run.options:
            pictures.append(_picture("points", f"points_{max(patch.ids, default=0)}"))
        for number in self.run.rounds if patch.split == "train" else []:
            if number not in patch.ids:
                continue
            decision = "accepted" if patch.accepted[number] else "not accepted"
            parts = [decision, _format("IDS", patch.ids[number])]
            parts.append(_format("Dice", patch.pseudo_dice.get(number)))
            caption = ", ".join(filter(None, parts))
            title = f"SAM mask, round {number}"
            pictures.append(_picture(title, f"mask_{number}", caption))
        if patch.split != "train":
            for predictor, dice in patch.dice.items():
                if predictor == PRELIMINARY or predictor.startswith("round "):
                    pictures.append(_picture(predictor, "", _format("Dice", dice)))
        return pictures

    def _has_correction(self, patch: RunPatch) -> bool:
        # Names may be those of patches in several splits, of which train alone is learnt.
        is_learnt = patch.split in ("train", CORRECTED)
        return is_learnt and self.run.correction(patch).is_file()

    def _draw_picture(self, number: int, kind: str, round_number: int) -> bytes | None:
        """A picture as JPEG; None if there is no such picture."""
        patch = self.run.patches[number]
        full = patch.patch.read()
        smallest_px = LARGE_PX if kind == "large" else PICTURE_PX
        scale = smallest_px / max(full.shape[:2])
        height, width = (max(1, round(side * scale)) for side in full.shape[:2])
        image = resize_rgb(full, height, width)

        if kind == "patch":
            picture = image
            if patch.patch.mask:
                truth = resize_mask(patch.patch.ground_truth(), height, width)
                picture = overlay_mask(image, truth, GROUND_TRUTH, tint=0.0)
        elif kind == "cam":
            cam = self.run.cam(patch)
            if cam is None:
                return None
            picture = overlay_cam(image, cam)
        elif kind == "points":
            picture = self._draw_points(patch, image, scale, round_number)
        elif kind == "large":
            mask = self._newest_mask(patch)
            picture = image
            if mask is not None:
                mask = resize_mask(mask, height, width)
                picture = overlay_mask(image, mask, PREDICTED, tint=0.0)
        elif kind == "correction":
            if not self._has_correction(patch):
                return None
            picture = _draw_correction(image, self.run.correction(patch))
        elif kind == "initial":
            picture = _draw_mask(image, self._read_mask(patch, None), INITIAL_MASK)
        elif kind == "mask":
            picture = _draw_mask(image, self._read_mask(patch, round_number), PREDICTED)
        else:
            return None
        return encode_jpeg(picture, QUALITY)

    def _draw_points(self, patch: RunPatch, image: Rgb, scale: float, round_number: int) -> Rgb:
        with self._lock:
            points = sample_points(self.run, patch, round_number)
        if points is None or not len(points):
            return blank_tile("no points", PICTURE_PX)
        mask = self._read_mask(patch, None)
        picture = image if mask is None else _draw_mask(image, mask, INITIAL_MASK)
        return draw_points(picture, np.float32((points[:, :2] + 0.5) * scale))

    def _read_mask(self, patch: RunPatch, round_number: int | None) -> Mask | None:
        """The initial mask or that of a round; None where there is none, as of one not accepted."""
        if round_number is None:
            path = self.run.initial_mask(patch)
        else:
            path = self.run.pseudo_mask(round_number, patch)
        try:
            return read_mask(path) if path.is_file() else None
        except ImageError:
            return None

    def _newest_mask(self, patch: RunPatch) -> Mask | None:
        """The mask of the newest round that is stored, else the initial one."""
        for number in reversed(self.run.rounds if patch.split == "train" else []):
            mask = self._read_mask(patch, number)
            if mask is not None:
                return mask
        return self._read_mask(patch, None)

    def _find_region(self, number: int, x: float, y: float) -> Polygon | None:
        mask = self._newest_mask(self.run.patches[number])
        return None if mask is None else region_of_mask(mask, x, y)


def _size_of(patch: RunPatch) -> tuple[int, int]:
    """Width and height of a patch in px, from the first bytes of its file if they state it."""
    size = read_image_size(patch.patch.image)
    if size and all(size):
        return size
    height, width = patch.patch.read().shape[:2]
    return width, height


def _names_in_corrections(run: TrainingRun) -> list[str]:
    """The name of each patch's file of corrections; empty for those outside of the dataset, which
    are corrected in their slide or image.
    """
    splits: dict[str, set[str]] = {}
    for patch in run.patches:
        if patch.split != CORRECTED:
            splits.setdefault(patch.patch.name, set()).add(patch.split)
    names = []
    for patch in run.patches:
        name = patch.patch.name
        is_outside = patch.split == CORRECTED
        names.append("" if is_outside else name_in_corrections(name, patch.split, splits[name]))
    return names


def _draw_correction(image: Rgb, path: Path) -> Rgb:
    """What a person has drawn: the border of the reviewed area, and the tumour in it."""
    reviewed, tumour = load_correction(path)
    height, width = image.shape[:2]
    picture = overlay_mask(image, resize_mask(reviewed, height, width), REVIEWED, tint=0.0)
    return overlay_mask(picture, resize_mask(tumour, height, width), GROUND_TRUTH)


def _draw_mask(image: Rgb, mask: Mask | None, colour: tuple[int, int, int]) -> Rgb:
    if mask is None:
        return blank_tile("not stored", PICTURE_PX)
    return overlay_mask(image, resize_mask(mask, *image.shape[:2]), colour)


def _last_dice(patch: RunPatch) -> float | None:
    """Dice of the last predictor of evaluation_patches.csv that is a decoder; before evaluation
    that of the last pseudo-label.
    """
    last = None
    for predictor, dice in patch.dice.items():
        if predictor in (INITIAL, PRELIMINARY) or predictor.startswith("round "):
            last = dice
    if last is None and patch.pseudo_dice:
        last = patch.pseudo_dice[max(patch.pseudo_dice)]
    return last


def _picture(title: str, file: str, caption: str = "") -> dict[str, str]:
    return {"title": title, "file": f"{file}.jpg" if file else "", "caption": caption}


def _format(name: str, value: float | None) -> str:
    return "" if value is None else f"{name} {value:.3f}"
