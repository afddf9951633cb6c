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

IMPORT_NAMES = {"opencv-python-headless": "cv2", "scikit-image": "skimage"}
"""Package → import name, where that is not the package's name with `_` for `-`."""

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
"""This project: what a GPU sold with 12 GB has at least, GiB; the defaults fit into that."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*((?:[<>=]=?\s*[0-9.]+\s*,?\s*)*)")
_BOUND = re.compile(r"([<>=]=?)\s*([0-9.]+)")


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    """Python is new enough."""
    if version < OLDEST_PYTHON:
        yield problem(
            "Python {}.{} is too old; put a newer one on PATH, 3.10 at least".format(*version)
        )


def check_packages(requirements: Path) -> Iterator[Finding]:
    """Every package of the requirements file is installed, in a version that it allows."""
    for line in requirements.read_text("utf-8").splitlines():
        requirement = _REQUIREMENT.fullmatch(line.split("#")[0].strip())
        if not requirement:
            continue
        package, bounds = requirement[1], requirement[2].strip()
        import_name = IMPORT_NAMES.get(package, package.replace("-", "_"))
        # Not imported: that would take seconds a package.
        if importlib.util.find_spec(import_name) is None:
            yield problem(
                f"package {package} is not installed; run: pip install -r {requirements.name}"
            )
            continue
        version = _installed_version(package)
        if not is_within_bounds(version, bounds):
            yield warning(
                f"package {package} is {version}, this was made with {bounds}; "
                f"run: pip install -r {requirements.name}"
            )


def check_tensorboard(is_needed: bool) -> Iterator[Finding]:
    """The package for --tensorboard is installed if any stage has that flag."""
    if is_needed and importlib.util.find_spec("tensorboard") is None:
        yield problem(
            "package tensorboard is not installed, which --tensorboard needs; run: pip install "
            "tensorboard"
        )


def check_postprocessing(rule: MaskRule) -> Iterator[Finding]:
    """The package that the post-processing of CAMs needs is installed; raises its error if not."""
    require_postprocessing(rule)
    yield from ()


def is_within_bounds(version: str, bounds: str) -> bool:
    """Whether a version such as `2.4.1+cu121` is within bounds such as `>=2.4,<3`.

    An unknown version, the empty string, is.
    """
    if not version:
        return True
    numbers = _version_numbers(version)
    for sign, bound in _BOUND.findall(bounds):
        if not _fulfils(numbers, sign, _version_numbers(bound)):
            return False
    return True


def _fulfils(version: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    if sign == ">=":
        return version >= bound
    if sign == "<=":
        return version <= bound
    if sign == "<":
        return version < bound
    if sign == ">":
        return version > bound
    # `==1.0` also allows 1.0.1.
    return version[: len(bound)] == bound


def _installed_version(package: str) -> str:
    try:
        return metadata.distribution(package).version
    except metadata.PackageNotFoundError:
        # Importable under another name, such as opencv-python for its headless twin.
        return ""


def _version_numbers(version: str) -> tuple[int, ...]:
    # What follows `+` names the build, such as that for a CUDA version.
    public_version = version.split("+")[0]
    return tuple(int(number) for number in re.findall(r"\d+", public_version)[:3])


def check_codecs() -> Iterator[Finding]:
    """Every compression that scanners write can be decoded."""
    missing = set()
    for code, name in CODECS.items():
        if code not in tifffile.TIFF.DECOMPRESSORS:
            missing.add(name)
    if missing:
        yield warning(
            f"slides compressed as {', '.join(sorted(missing))} cannot be read; run: pip install "
            "imagecodecs"
        )


def check_device(device: str, precision: str, is_published_sam: bool) -> Iterator[Finding]:
    """The device exists and has enough memory.

    `is_published_sam`: SAM is one of the published models, which are slow on a CPU.
    """
    try:
        device_config = select_device(device, precision)
    except DeviceError as error:
        yield problem(str(error))
        return
    if device_config.device.type != "cuda":
        if is_published_sam:
            yield warning("no GPU is used: SAM's encoder takes many seconds an image on a CPU")
        return
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    free_gib, total_gib = free_bytes / 2**30, total_bytes / 2**30
    if free_gib < GPU_GIB:
        yield warning(
            f"GPU {torch.cuda.get_device_name()} has {free_gib:.1f} of {total_gib:.1f} GiB free, "
            "the defaults are made for 12; if memory runs out, lower --batch_size or "
            "--encoder_chunk"
        )
