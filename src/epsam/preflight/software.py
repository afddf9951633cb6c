"""Versions of Python and packages, codecs, and the device."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tifffile
import torch

from epsam.cam.postprocess import require_postprocessing
from epsam.config.masks import MaskRule
from epsam.core.device import select_device
from epsam.core.errors import DeviceError
from epsam.preflight.finding import Finding, problem, warning

OLDEST_PYTHON = (3, 10)
MODULES = {"opencv-python-headless": "cv2", "scikit-image": "skimage"}
"""Import names that are not the package's own, where `-` is `_`."""

CODECS = {
    1: "none",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    33003: "Aperio JPEG 2000",
    33005: "Aperio JPEG 2000",
    34712: "JPEG 2000",
}
"""TIFF compressions that scanners write."""

GPU_GIB = 11.5
"""What a card sold as one of 12 GB has at least, GiB: the size that the defaults are made for."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*((?:[<>=]=?\s*[0-9.]+\s*,?\s*)*)")
_BOUND = re.compile(r"([<>=]=?)\s*([0-9.]+)")


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    if found < OLDEST_PYTHON:
        yield problem(
            "Python {}.{} is too old; put a newer one on PATH, 3.10 at least".format(*found)
        )


def check_packages(requirements: Path) -> Iterator[Finding]:
    """Every package of the requirements file is there, in a version that it allows."""
    for line in requirements.read_text("utf-8").splitlines():
        match = _REQUIREMENT.fullmatch(line.split("#")[0].strip())
        if not match:
            continue
        name, bounds = match[1], match[2].strip()
        if importlib.util.find_spec(MODULES.get(name, name.replace("-", "_"))) is None:
            yield problem(
                f"package {name} is not installed; run: pip install -r {requirements.name}"
            )
        elif not within(_version_of(name), bounds):
            yield warning(
                f"package {name} is {_version_of(name)}, this was made with {bounds}; "
                f"run: pip install -r {requirements.name}"
            )


def check_tensorboard(wanted: bool) -> Iterator[Finding]:
    """The package for --tensorboard is there if any stage has that flag."""
    if wanted and importlib.util.find_spec("tensorboard") is None:
        yield problem(
            "package tensorboard is not installed, which --tensorboard needs; run: pip install tensorboard"
        )


def check_postprocessing(rule: MaskRule) -> Iterator[Finding]:
    """The package that the post-processing needs is there; one that is not is an error of the
    post-processing.
    """
    require_postprocessing(rule)
    yield from ()


def within(version: str, bounds: str) -> bool:
    """Whether a version such as `2.4.1+cu121` keeps bounds such as `>=2.4,<3`; an unknown (empty)
    one does.
    """
    compare = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "==": lambda a, b: a[: len(b)] == b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
    }
    return not version or all(
        compare[sign](_numbers(version), _numbers(bound)) for sign, bound in _BOUND.findall(bounds)
    )


def _version_of(package: str) -> str:
    try:
        return metadata.distribution(package).version
    except metadata.PackageNotFoundError:
        # Importable under another name, such as opencv-python for its headless twin.
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def check_codecs() -> Iterator[Finding]:
    """Every compression that scanners write can be decoded."""
    missing = sorted(
        {name for code, name in CODECS.items() if code not in tifffile.TIFF.DECOMPRESSORS}
    )
    if missing:
        yield warning(
            f"slides compressed as {', '.join(missing)} cannot be read; run: pip install imagecodecs"
        )


def check_device(device: str, precision: str, real_sam: bool) -> Iterator[Finding]:
    """The device is there and large enough; `real_sam`: the encoder is one of the published
    ones.
    """
    try:
        device_config = select_device(device, precision)
    except DeviceError as error:
        yield problem(str(error))
        return
    if device_config.device.type != "cuda":
        if real_sam:
            yield warning("no GPU is used: SAM's encoder takes many seconds an image on a CPU")
        return
    free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
    if free < GPU_GIB:
        yield warning(
            f"GPU {torch.cuda.get_device_name()} has {free:.1f} of {total:.1f} GiB free, the defaults are "
            "made for 12; if memory runs out, lower --batch_size or --encoder_chunk"
        )
