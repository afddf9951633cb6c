"""The page of results as files that open from a disk, without a server: zoom, layers, outlines,
threshold.
"""

import base64
import logging
from pathlib import Path

from epsam.core.files import write_bytes
from epsam.core.output_folders import claim_output_folder
from epsam.view.image_site import ImageSite, restrict_levels
from epsam.view.outlines import MAX_DETAIL, Rings, pack
from epsam.view.overlays import read_tile_table
from epsam.view.pages import EXPORTED_FILES, render_page, script_of, static_file
from epsam.view.tiles import IMAGE, TileAddress

log = logging.getLogger(__name__)

STAGE = "view"
MAX_POINTS = 400_000
"""This project: points of a slide's polygons, 4 MB; with more, all of them are coarser."""
EVERYWHERE = (float("-inf"), float("-inf"), float("inf"), float("inf"))
BASE64 = 4 / 3
"""Characters that a byte takes in a data: address."""


def export_page(site: ImageSite, target: Path, max_mb: float) -> None:
    """Write the page to the folder `target`, at most about `max_mb` MB for each image: of larger
    ones the finest levels are left out.

    Raises DatasetError if the folder holds anything else, or is that of the results or slides.
    """
    folders = [site.catalogue.folder, *(image.path.parent for image in site.catalogue.images)]
    claim_output_folder(target, STAGE, folders, "--export")
    (target / "index.html").unlink(missing_ok=True)
    site.scores.compute()
    for name in EXPORTED_FILES:
        answer = static_file(name)
        if answer is not None:
            write_bytes(target / name, answer.content)
    for number, image in enumerate(site.catalogue.images):
        log.info("%d of %d: %s", number + 1, len(site.catalogue.images), image.name)
        _export_image(site, number, target, max_mb * 1e6)

    write_bytes(target / "list.js", script_of("epsam.setList", site.describe_list()))
    scores = script_of("epsam.setUncertainty", site.scores.values, True)
    write_bytes(target / "uncertainty.js", scores)
    # Last: a page that opens is complete.
    title = f"{site.catalogue.folder.name}: results"
    write_bytes(
        target / "index.html",
        render_page("viewer.html.j2", title=title, exported=True, corrections=False),
    )


def _export_image(site: ImageSite, number: int, target: Path, max_bytes: float) -> None:
    """Write the tiles of an image, and images/<number>.js with what a page on a disk cannot read
    from other files: grey values and polygons.
    """
    outlines = {}
    for kind in site.outlines.kinds(number):
        content = pack(_simplify_to_limit(site, number, kind))
        outlines[kind] = base64.b64encode(content).decode("ascii")
    description = site.describe_image(number)
    budget = max_bytes - sum(map(len, outlines.values()))

    tiles: dict[str, str] = {}
    dropped = _export_tiles(site, number, target, budget, tiles)
    for name, layer in description["layers"].items():
        restrict_levels(layer, dropped[name])
    if dropped[IMAGE]:
        log.info(
            "%s: %g of its resolution in %g MB; more by --export_mb",
            description["name"],
            0.5 ** dropped[IMAGE],
            max_bytes / 1e6,
        )

    table = read_tile_table(site.catalogue.images[number])
    write_bytes(target / f"tables/{number}.js", script_of("epsam.setTiles", number, table))
    scripts = script_of("epsam.setExported", {"tiles": tiles, "outlines": outlines})
    scripts += script_of("epsam.setImage", number, description)
    write_bytes(target / f"images/{number}.js", scripts)


def _export_tiles(
    site: ImageSite, number: int, target: Path, budget: float, tiles: dict[str, str]
) -> dict[str, int]:
    """Write the image's tiles to files and the other layers' to `tiles`, from coarse to fine.

    Returns how many of the finest levels of each layer are left out.
    """
    layers = site.describe_image(number)["layers"]
    dropped = {name: layer["finest"] - layer["coarsest"] + 1 for name, layer in layers.items()}
    last_bytes = dict.fromkeys(layers, 0.0)
    for step in range(max(dropped.values())):
        for name, layer in layers.items():
            level = layer["coarsest"] + step
            # A level has four times the pixels of the one before; a layer without one ends.
            is_too_large = 4 * last_bytes[name] > budget
            is_next = dropped[name] == layer["finest"] - level + 1
            if level > layer["finest"] or is_too_large or not is_next:
                continue
            last_bytes[name] = _export_level(site, number, name, level, target, tiles)
            budget -= last_bytes[name]
            dropped[name] -= 1
    return dropped


def _export_level(
    site: ImageSite, number: int, name: str, level: int, target: Path, tiles: dict[str, str]
) -> float:
    """Write a level of a layer; returns how many bytes it takes."""
    levels = site.tiles.levels(number, name)
    if levels is None:
        return 0.0
    n_bytes = 0.0
    n_columns, n_rows = levels.count_tiles(level)
    for row in range(n_rows):
        for column in range(n_columns):
            content = site.tiles.read(TileAddress(number, name, level, column, row))
            if content is None:
                continue
            place = f"{level}/{column}_{row}"
            if name == IMAGE:
                # A file may be shown from a disk; only its pixels may not be read.
                write_bytes(target / f"tiles/{number}/{name}/{place}.jpg", content, durable=False)
                n_bytes += len(content)
            else:
                tiles[f"{name}/{place}"] = base64.b64encode(content).decode("ascii")
                n_bytes += len(content) * BASE64
    return n_bytes


def _simplify_to_limit(site: ImageSite, number: int, kind: str) -> Rings:
    """The polygons of an image at the finest detail that has at most `MAX_POINTS` points."""
    for detail in range(MAX_DETAIL + 1):
        rings = site.outlines.view(number, kind, EVERYWHERE, detail)
        if rings is not None and len(rings.points_xy) <= MAX_POINTS:
            return rings
    raise AssertionError("at the coarsest detail a slide is a few points")
