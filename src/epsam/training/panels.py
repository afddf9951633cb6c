"""Panels of a stage: a figure of a few patches with CAM, masks, prompts and ground truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from epsam.data.cam_store import CamStore
from epsam.data.images import Mask, read_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.pictures.panel import PanelRow, draw_panel
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.training.round_data import initial_mask_path

ROWS = 5
"""This project: patches on a panel."""


def pick_evenly(count: int, rows: int = ROWS) -> list[int]:
    """Indices of up to `rows` of `count` items, evenly spaced."""
    # Evenly, so that a panel is neither a lucky nor a flattering choice.
    if count <= rows:
        return list(range(count))
    return [round(i * (count - 1) / max(rows - 1, 1)) for i in range(rows)]


def write_panel(
    target: Path,
    run: RunPaths,
    split: str,
    patches: Sequence[Patch],
    cams: CamStore | None,
    prompts: Sequence[PointPrompt] = (),
    sam_masks: Mapping[str, Mask] | None = None,
) -> None:
    """Write a panel with a row for each patch: image, ground truth and, if they are passed, CAM,
    initial mask, points and the last predictor's mask.
    """
    rows = []
    for index, patch in enumerate(patches):
        cam = initial_mask = None
        if cams is not None:
            cam = cams.maps[patch.name]
            initial_mask = read_mask(initial_mask_path(run, split, patch))
        rows.append(
            PanelRow(
                image=patch.read(),
                ground_truth=patch.ground_truth() if patch.mask else None,
                cam=cam,
                initial_mask=initial_mask,
                points_xy_patch=prompts[index][:, :2] if len(prompts) else None,
                mask=sam_masks[patch.name] if sam_masks else None,
            )
        )
    write_rgb(target, draw_panel(rows))
