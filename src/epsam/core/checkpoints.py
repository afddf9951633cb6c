"""Checkpoints of tensors and plain data, written whole and read without executing their content."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from epsam.core.errors import WeightsError
from epsam.core.files import write_bytes

State = dict[str, Tensor]

# All that torch.load raised in tests on files with changed, truncated or random bytes.
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
    # On a full disk torch.save raises a RuntimeError about positions. Written by ourselves, the
    # bytes raise an OSError, which the command line explains to the user.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def load_plain(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors (on the CPU) and plain data.

    Raises WeightsError if the file is missing, damaged, or holds anything else.
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
    """Raise BadZipFile if a tensor's bytes changed on disk: torch.load ignores the checksums."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(damaged)


def save_network(path: Path, network: nn.Module, extra: Mapping[str, Any]) -> None:
    """Write {"model": state dict, **extra}, whole or not at all; `extra` is plain data."""
    state = {key: tensor.detach().cpu() for key, tensor in network.state_dict().items()}
    save_plain(path, {**extra, "model": state})


def load_network(path: Path, network: nn.Module) -> None:
    """Load a file's weights into a network. Raises WeightsError if they do not fit."""
    state = named_tensors(path, load_plain(path))
    check_fit(path, type(network).__name__, state, network.state_dict())
    network.load_state_dict(state)


def named_tensors(path: Path, content: Mapping[str, Any]) -> State:
    """A checkpoint's state dict, bare or under a usual key, without DataParallel's prefix.

    Raises WeightsError if there is none.
    """
    state: Any = content
    for key in ("model", "state_dict", "model_state_dict"):
        if key in content:
            state = content[key]
            break

    only_tensors = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not only_tensors or not state:
        raise WeightsError(f"{path}: holds no table of named tensors; give a state dict")
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def check_fit(
    path: Path, network: str, loaded: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Raise WeightsError unless `loaded` has the keys and shapes of `expected`, and is finite.

    See docs/deviations.md, "Strict weights".
    """
    common = loaded.keys() & expected.keys()
    problems = {
        "missing": [key for key in expected if key not in loaded],
        "unexpected": [key for key in loaded if key not in expected],
        "of another shape": [
            key for key in expected if key in common and loaded[key].shape != expected[key].shape
        ],
        "not finite": [
            key for key, tensor in loaded.items() if not bool(torch.isfinite(tensor).all())
        ],
    }
    counts = [
        f"{len(keys)} {problem} (first {keys[0]})" for problem, keys in problems.items() if keys
    ]
    if counts:
        raise WeightsError(
            f"{path}: tensors do not fit {network}: {', '.join(counts)}; "
            "give weights of that network"
        )
