"""Checkpoints of tensors and plain data: written whole, read without running anything that is in
them.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from epsam.core.errors import WeightsError
from epsam.core.files import write_bytes

State = dict[str, Tensor]

# All that torch.load was seen to raise on files with changed, cut or random bytes.
_DAMAGE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def save_plain(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data, whole or not at all."""
    # torch.save tells a full disk as a RuntimeError about positions; writing the bytes ourselves,
    # it is an OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def load_plain(path: Path) -> dict[str, Any]:
    """Read a table of tensors and plain data, tensors on the CPU.

    Raises WeightsError if the file is absent, damaged, or holds anything else.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        _check_sums(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no such file; run the stage that makes it, or correct the path"
        ) from error
    except _DAMAGE as error:
        raise WeightsError(
            f"{path}: not a whole file of tensors and plain data ({type(error).__name__}); "
            "get or make it again"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path}: holds a {type(content).__name__}, not a table of weights; give another file"
        )
    return content


def _check_sums(path: Path) -> None:
    """Raise BadZipFile if a tensor's bytes are not those that were written: torch.load does not
    look at the sums.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(damaged)


def named_tensors(path: Path, content: Mapping[str, Any]) -> State:
    """A checkpoint's weights, bare or under a usual key, without the prefix that DataParallel adds.

    Raises WeightsError if there are none.
    """
    inner = next(
        (content[key] for key in ("model", "state_dict", "model_state_dict") if key in content),
        content,
    )
    if (
        not isinstance(inner, dict)
        or not inner
        or not all(isinstance(value, Tensor) for value in inner.values())
    ):
        raise WeightsError(f"{path}: holds no table of named tensors; give a state dict")
    return {str(key).removeprefix("module."): tensor for key, tensor in inner.items()}


def check_fit(
    path: Path, network: str, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Raise WeightsError unless `given` fits the network's own state key by key and is finite."""
    problems = {
        "missing": [key for key in wanted if key not in given],
        "unexpected": [key for key in given if key not in wanted],
        "of another shape": [
            key for key in wanted if key in given and given[key].shape != wanted[key].shape
        ],
        "not finite": [
            key for key, tensor in given.items() if not bool(torch.isfinite(tensor).all())
        ],
    }
    found = [
        f"{len(keys)} {problem} (first {keys[0]})" for problem, keys in problems.items() if keys
    ]
    if found:
        raise WeightsError(
            f"{path}: tensors do not fit {network}: {', '.join(found)}; give weights of that network"
        )
