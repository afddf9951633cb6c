"""What the browser loads: pages from templates, scripts and styles from files of this room."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from epsam.view.server import SCRIPT, STYLE, Answer

if TYPE_CHECKING:
    from jinja2 import Environment

ROOM = Path(__file__).parent
VENDORED = "vendor/openseadragon/openseadragon.min.js"
VENDORED_SHA256 = "14d587cd3ee7c4861f1a41077ce642029364a21029956ba635bd8fb1202cf9ad"
"""OpenSeadragon 6.1.1 as its npm package has it; a test compares."""
EXPORTED_FILES = (
    VENDORED,
    "vendor/openseadragon/LICENSE.txt",
    "viewer.css",
    "colours.js",
    "overlay.js",
    "images.js",
    "address.js",
    "viewer.js",
    "exported.js",
)
"""Those of the page of results, on a disk, too."""
GALLERY_FILES = ("gallery.css", "colours.js", "images.js", "gallery.js")
"""Those of the page of a run, on a disk, too."""
STATIC_FILES = (
    *EXPORTED_FILES,
    "gallery.css",
    "gallery.js",
    "corrections.css",
    "corrections.js",
    "correct_slides.js",
    "correct_patches.js",
)
KINDS = {".js": SCRIPT, ".css": STYLE, ".txt": "text/plain"}


@cache
def load_environment() -> "Environment":
    """The templates; they escape texts, and fail at a value that they lack."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(ROOM / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(template: str, **values: object) -> bytes:
    """The page of a template; raises jinja2.UndefinedError if it lacks a value."""
    return (load_environment().get_template(template).render(values) + "\n").encode("utf-8")


def static_file(name: str) -> Answer | None:
    """A script, style or licence; None for any name that is not in `STATIC_FILES`."""
    if name not in STATIC_FILES:
        return None
    return Answer((ROOM / "static" / name).read_bytes(), KINDS[Path(name).suffix])


def script_of(function: str, *values: object) -> bytes:
    """A script that calls a function of the page with values: also pages on a disk can load it,
    which may not read other files.
    """
    # The two characters are ends of lines in scripts of older browsers.
    arguments = ", ".join(json.dumps(value, allow_nan=False) for value in values)
    return f"{function}({arguments});\n".encode("ascii")


def palettes() -> Mapping[str, Any]:
    """Colours (256, 3) by name, for a grey value each: viridis, as CAMs have it, and inferno."""
    values = np.arange(256, dtype=np.uint8)[:, None]
    colours = {}
    for name, colour_map in (
        ("probability", cv2.COLORMAP_VIRIDIS),
        ("uncertainty", cv2.COLORMAP_INFERNO),
    ):
        # OpenCV's colour maps are BGR.
        colours[name] = cv2.applyColorMap(values, colour_map)[:, 0, ::-1].tolist()
    return colours
