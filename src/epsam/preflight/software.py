"""Versions of Python and packages, codecs, and the device."""

import importlib.util
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tifffile
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from epsam.cam.postprocess import require_postprocessing
from epsam.config.masks import MaskRule
from epsam.core.errors import DeviceError
from epsam.preflight.finding import Finding, problem, warning

OLDEST_PYTHON = (3, 10)

IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "openslide-python": "openslide",
}
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

DEVICE_FILES = Path("/dev")
GPU_DRIVERS = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")
"""Device files of the drivers of GPUs on Linux: NVIDIA's (on Jetson, too), AMD's, and that of the
Linux in Windows.
"""

GPU_GIB = 11.5
"""This project: what a GPU sold with 12 GB has at least, GiB; the defaults fit into that."""


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    """Python is new enough."""
    if version < OLDEST_PYTHON:
        yield problem(
            "Python {}.{} is too old; put a newer one on PATH, 3.10 at least".format(*version)
        )


def check_packages(requirements: Path) -> Iterator[Finding]:
    """Every package of the requirements file is installed, in a version that it allows."""
    for number, line in enumerate(requirements.read_text("utf-8").splitlines(), 1):
        text = line.split("#")[0].strip()
        # `-r other.txt` and other options of pip are no requirements.
        if not text or text.startswith("-"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            yield problem(
                f"{requirements.name} line {number}: {text!r} is no requirement; write it as "
                "name>=version,<version"
            )
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield from _check_package(requirement, requirements)


def _check_package(requirement: Requirement, requirements: Path) -> Iterator[Finding]:
    """The package is installed, in a version that the requirement allows."""
    package = requirement.name
    import_name = IMPORT_NAMES.get(package, package.replace("-", "_"))
    # Not imported: that would take seconds a package.
    if importlib.util.find_spec(import_name) is None:
        yield problem(
            f"package {package} is not installed; run: pip install -r {requirements.name}"
        )
        return

    version = _installed_version(package)
    if not is_within_bounds(version, requirement.specifier):
        yield warning(
            f"package {package} is {version}, this was made with {requirement.specifier}; "
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


def is_within_bounds(version: str, bounds: SpecifierSet) -> bool:
    """Whether a version such as `2.4.1+cu121` is within bounds such as `>=2.4,<3`.

    An unknown version, the empty string, is.
    """
    if not version:
        return True
    try:
        # Vendors ship PyTorch as a pre-release of the next version.
        return bounds.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _installed_version(package: str) -> str:
    try:
        return metadata.distribution(package).version
    except metadata.PackageNotFoundError:
        # Importable under another name, such as opencv-python for its headless twin.
        return ""


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
    if device == "cpu" or (device != "cuda" and not may_have_gpu()):
        yield from _check_cpu(is_published_sam)
        return

    # PyTorch takes seconds to import, and is asked only if there may be a GPU.
    import torch

    from epsam.core.device import select_device

    try:
        device_config = select_device(device, precision)
    except DeviceError as error:
        yield problem(str(error))
        return
    if device_config.device.type != "cuda":
        yield from _check_cpu(is_published_sam)
        return
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    free_gib, total_gib = free_bytes / 2**30, total_bytes / 2**30
    if free_gib < GPU_GIB:
        yield warning(
            f"GPU {torch.cuda.get_device_name()} has {free_gib:.1f} of {total_gib:.1f} GiB free, "
            "the defaults are made for 12; if memory runs out, lower --batch_size or "
            "--encoder_chunk"
        )


def may_have_gpu() -> bool:
    """False if there is no driver of a GPU, so that PyTorch cannot use one."""
    if platform.system() != "Linux":
        return True
    return any(list(DEVICE_FILES.glob(pattern)) for pattern in GPU_DRIVERS)


def _check_cpu(is_published_sam: bool) -> Iterator[Finding]:
    if is_published_sam:
        yield warning("no GPU is used: SAM's encoder takes many seconds an image on a CPU")
