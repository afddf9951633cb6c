"""The gallery of a run as files that open from a disk, without a server: patches, scores, pictures,
and their orders.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from epsam.config.common import SPLITS
from epsam.core.files import write_bytes
from epsam.core.output_folders import claim_output_folder
from epsam.view.export import STAGE
from epsam.view.pages import GALLERY_FILES, render_page, script_of, static_file
from epsam.view.run_site import RunSite

log = logging.getLogger(__name__)

SAMPLE = 10
"""This project: patches whose pictures tell how many there is room for."""
STEP = 100
"""Patches between two lines of the log."""


def export_gallery(site: RunSite, target: Path, max_mb: float) -> None:
    """Write the gallery to the folder `target`, in about `max_mb` MB: of too many patches evenly
    spaced ones.

    Raises DatasetError if the folder holds anything else, or is that of the run or its patches.
    """
    data = site.run.data
    splits = [data.split(split) for split in SPLITS]
    claim_output_folder(target, STAGE, [site.run.run.root, data.root, *splits], "--export")
    (target / "index.html").unlink(missing_ok=True)
    for name in GALLERY_FILES:
        answer = static_file(name)
        if answer is not None:
            write_bytes(target / name, answer.content)

    description = site.describe()
    rows = description["patches"]
    chosen = _choose_patches(site, rows, max_mb * 1e6)
    for index, number in enumerate(chosen):
        if index % STEP == 0:
            log.info("patch %d of %d", index + 1, len(chosen))
        for file, content in _draw_pictures(site, rows[number], number):
            write_bytes(target / f"pictures/{index}/{file}", content, durable=False)
    if len(chosen) < len(rows):
        log.info(
            "%d of %d patches in %g MB, evenly spaced; more by --export_mb",
            len(chosen),
            len(rows),
            max_mb,
        )

    description["patches"] = [rows[number] for number in chosen]
    write_bytes(target / "patches.js", script_of("epsam.setPatches", description))
    # Last: a page that opens is complete.
    title = f"{site.run.run.root.name}: patches"
    page = render_page("gallery.html.j2", title=title, corrections=False)
    write_bytes(target / "index.html", page)


def _choose_patches(site: RunSite, rows: Sequence[dict[str, Any]], max_bytes: float) -> list[int]:
    """The numbers of the patches that there is room for, evenly spaced; at least one."""
    n_bytes = 0
    sample = _spread(len(rows), SAMPLE)
    for number in sample:
        for _, content in _draw_pictures(site, rows[number], number):
            n_bytes += len(content)
    room = max_bytes * len(sample) / max(n_bytes, 1)
    return _spread(len(rows), max(1, int(min(room, len(rows)))))


def _spread(total: int, count: int) -> list[int]:
    """At most `count` numbers below `total`, evenly spaced."""
    return sorted(set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()))


def _draw_pictures(site: RunSite, row: dict[str, Any], number: int) -> list[tuple[str, bytes]]:
    """File and content of a patch's pictures."""
    pictures = []
    for picture in row["pictures"]:
        file = picture["file"]
        answer = site.answer(f"pictures/{number}/{file}", {}) if file else None
        if answer is not None:
            pictures.append((file, answer.content))
        else:
            # A caption alone: the page then asks for no file.
            picture["file"] = ""
    return pictures
