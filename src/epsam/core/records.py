"""record.json: how each stage was made, enough to repeat it, and what it took."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from epsam.core.files import read_json, write_json

PACKAGES = (
    "torch",
    "torchvision",
    "segment-anything",
    "numpy",
    "opencv-python-headless",
    "scikit-image",
    "tifffile",
    "imagecodecs",
)
_SOURCE = Path(__file__).resolve().parents[2]
_GIB = 2.0**30


def add_to_record(
    record: Path,
    stage: str,
    options: Mapping[str, Any],
    seconds: float,
    inputs: Mapping[str, str] | None = None,
    fit_seconds: float = 0.0,
) -> None:
    """Put a stage into the record, in the place of an earlier entry: its options, digests of its
    `inputs`, versions, machine, wall time of its last session in s, that of all epochs it fitted
    (also before an interruption, so it may be longer), and this process's peaks so far in GiB.
    """
    kept = read_json(record) if record.is_file() else {}
    times = {
        "seconds": round(seconds, 1),
        **({"fit_seconds": round(fit_seconds, 1)} if fit_seconds else {}),
    }
    entry = {
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **times,
        **peak_memory(),
        "options": dict(options),
        "inputs": dict(inputs or {}),
        "code": code(),
        "versions": versions(),
        "machine": machine(),
    }
    write_json(record, {**kept, stage: json.loads(json.dumps(entry))})


def copy_stage_record(source: Path, record: Path, stage: str) -> None:
    """Put into `record` what another one tells of a stage, if it tells anything."""
    told = read_json(source).get(stage) if source.is_file() else None
    if told:
        write_json(record, {**(read_json(record) if record.is_file() else {}), stage: told})


def peak_memory() -> dict[str, float]:
    """Most memory this process and the largest of its workers held, and most on the GPU, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {
        name: resource.getrusage(who).ru_maxrss * unit / _GIB
        for name, who in (
            ("peak_ram", resource.RUSAGE_SELF),
            ("peak_ram_worker", resource.RUSAGE_CHILDREN),
        )
    }
    torch = _torch()
    if torch and torch.cuda.is_available():
        found["peak_gpu"] = torch.cuda.max_memory_allocated() / _GIB
    return {f"{name}_gib": round(value, 3) for name, value in found.items()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages, as installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.distribution(package).version
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """System, processor cores and, for a stage with networks, threads and the GPU with its memory
    in GiB.
    """
    found: dict[str, Any] = {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
    torch = _torch()
    if torch:
        found["threads"] = torch.get_num_threads()
    if torch and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "gpu_gib": round(properties.total_memory / _GIB, 1),
            "cuda": torch.version.cuda,
        }
    return found


def _torch() -> Any:
    """PyTorch, where this process has loaded it: a stage without networks does not wait for it."""
    return sys.modules.get("torch")


def code() -> dict[str, str]:
    """The git revision, `-dirty` with changes not committed, and a digest of the source, which
    needs no git.
    """
    digest = hashlib.sha256()
    for path in sorted(_SOURCE.rglob("*.py")):
        digest.update(path.relative_to(_SOURCE).as_posix().encode() + b"\0" + path.read_bytes())
    return {"git": _git_revision(), "source_sha256": digest.hexdigest()}


def _git_revision() -> str:
    command = [
        "git",
        "-C",
        str(_SOURCE),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
