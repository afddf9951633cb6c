"""The activation maps of a frozen classifier: computed once, kept, and read by masks, prompts and
scores alike.
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

# All that numpy and zipfile were seen to raise on files with changed, cut or random bytes.
_DAMAGE = (
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


@dataclass(frozen=True)
class CamStore:
    """Maps (h, w) in 0..1 and tumour probabilities by patch name, with the checksum of the
    classifier behind them.

    `recipe`: a digest of all that decides the maps, by which another run knows whether they are
    what it needs.
    """

    classifier: str
    maps: dict[str, CamMap]
    probabilities: dict[str, float]
    recipe: str = ""


def save_cams(path: Path, activations: CamStore) -> None:
    """Write all maps of a split into one file, whole or not at all."""
    names = sorted(activations.maps)
    stack = (
        np.stack([activations.maps[n] for n in names]) if names else np.zeros((0, 1, 1), np.float32)
    )
    probabilities = np.array([activations.probabilities[n] for n in names], dtype=np.float64)
    with whole_file(path) as temporary:
        np.savez(
            temporary,
            names=np.array(names, dtype=str),
            maps=stack,
            probabilities=probabilities,
            classifier=np.array(activations.classifier),
            recipe=np.array(activations.recipe),
        )


def load_cams(path: Path, classifier: str) -> CamStore:
    """The maps that were made with the classifier of that checksum.

    Raises DatasetError if there are none, they are damaged, or they come from another classifier.
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            found = str(kept["classifier"])
            names = [str(name) for name in kept["names"]]
            maps, probabilities = kept["maps"], kept["probabilities"]
            recipe = str(kept["recipe"]) if "recipe" in kept else ""
    except _DAMAGE as error:
        raise DatasetError(
            f"{path}: no readable activation maps ({error}); run generate_initial_masks.py"
        ) from error
    if found != classifier:
        raise DatasetError(
            f"{path}: made with another classifier; run generate_initial_masks.py again"
        )
    by_name = dict(zip(names, maps, strict=True))
    return CamStore(
        found, by_name, {n: float(p) for n, p in zip(names, probabilities, strict=True)}, recipe
    )
