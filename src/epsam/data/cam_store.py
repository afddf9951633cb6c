"""The class activation maps (CAMs) of a split: computed once, stored in one npz file, and read by
masks, prompts and scores alike.
"""

import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epsam.core.errors import DatasetError
from epsam.core.files import whole_file

# What numpy and zipfile raised in tests on files with changed, truncated or random bytes.
_DAMAGED_FILE_ERRORS = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

CamMap = npt.NDArray[np.float32]
"""A class activation map (h, w) in 0..1."""


@dataclass(frozen=True)
class CamStore:
    """The CAMs of a split's patches.

    classifier_sha256: checksum of the classifier behind them. maps: CAM (h, w) in 0..1 by patch
    name. probabilities: tumour probability by patch name. recipe: digest of all that decides the
    maps, by which another run can tell whether it may reuse them.
    """

    classifier_sha256: str
    maps: dict[str, CamMap]
    probabilities: dict[str, float]
    recipe: str = ""


def save_cams(path: Path, cams: CamStore) -> None:
    """Write the CAMs of a split into one file, completely or not at all."""
    names = sorted(cams.maps)
    maps = np.zeros((0, 1, 1), np.float32)
    if names:
        maps = np.stack([cams.maps[name] for name in names])
    probabilities = [cams.probabilities[name] for name in names]
    with whole_file(path) as temporary:
        np.savez(
            temporary,
            names=np.array(names, dtype=str),
            maps=maps,
            probabilities=np.array(probabilities, dtype=np.float64),
            classifier=np.array(cams.classifier_sha256),
            recipe=np.array(cams.recipe),
        )


def load_cams(path: Path, classifier_sha256: str) -> CamStore:
    """Load the CAMs that were computed with the classifier of this checksum.

    Raises DatasetError if the file is missing or damaged, or if its CAMs come from another
    classifier.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored_sha256 = str(arrays["classifier"])
            names = [str(name) for name in arrays["names"]]
            maps = arrays["maps"]
            probabilities = arrays["probabilities"]
            # Files of earlier versions have no recipe.
            recipe = str(arrays["recipe"]) if "recipe" in arrays else ""
    except _DAMAGED_FILE_ERRORS as error:
        raise DatasetError(
            f"{path}: no readable class activation maps ({error}); run generate_initial_masks.py"
        ) from error
    if stored_sha256 != classifier_sha256:
        raise DatasetError(
            f"{path}: made with another classifier; run generate_initial_masks.py again"
        )

    cams = CamStore(stored_sha256, {}, {}, recipe)
    for name, cam_map, probability in zip(names, maps, probabilities, strict=True):
        cams.maps[name] = cam_map
        cams.probabilities[name] = float(probability)
    return cams
