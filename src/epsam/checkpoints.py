"""Checkpoints of tensors and plain data: written whole, loaded without running anything that is in them."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from epsam.errors import WeightsError
from epsam.files import whole_file


def save_plain(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data, whole or not at all."""
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def load_plain(path: Path) -> dict[str, Any]:
    """Read what `save_plain` wrote, tensors on the CPU.

    Raises WeightsError if the file is absent, damaged, or holds anything but tensors and plain data.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: not there; run the stage that makes it, or give another path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: not a whole file of tensors and plain data ({reason}); make it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a table of weights; give another file")
    return content
