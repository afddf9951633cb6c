"""record.json: how each stage was run, enough to repeat it, and the time and memory it took."""

import ctypes
import gc
import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
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
    """Write a stage's entry into the record, in place of an earlier one.

    options: as stored (`stored_options`). inputs: {name: digest}. seconds: wall time of the last
    session. fit_seconds: time of all epochs, those before an interruption included, so it may be
    longer. The entry also has versions, machine, and this process's peak memory in GiB.
    """
    entry: dict[str, Any] = {
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }
    if fit_seconds:
        entry["fit_seconds"] = round(fit_seconds, 1)
    entry.update(peak_memory())
    entry["options"] = dict(options)
    entry["inputs"] = dict(inputs or {})
    entry["code"] = code_version()
    entry["versions"] = package_versions()
    entry["machine"] = describe_machine()

    stages = read_json(record) if record.is_file() else {}
    stages[stage] = entry
    write_json(record, stages)


def copy_stage_record(source: Path, record: Path, stage: str) -> None:
    """Copy a stage's entry from the record `source` into `record`, if it has one."""
    entry = read_json(source).get(stage) if source.is_file() else None
    if entry:
        stages = read_json(record) if record.is_file() else {}
        stages[stage] = entry
        write_json(record, stages)


def peak_memory() -> dict[str, float]:
    """Peak memory in GiB: of this process, of its largest worker, and on the GPU."""
    # ru_maxrss counts bytes on macOS and KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB
    worker_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / _GIB
    peaks = {
        "peak_ram_gib": round(own_peak, 3),
        "peak_ram_worker_gib": round(worker_peak, 3),
    }
    torch = _loaded_torch()
    if torch and torch.cuda.is_available():
        peaks["peak_gpu_gib"] = round(torch.cuda.max_memory_allocated() / _GIB, 3)
    return peaks


def reset_peak_memory() -> None:
    """Let `peak_memory` begin anew, where the system can: in a process that runs several stages."""
    gc.collect()
    # What earlier stages have freed would count as this one's, as the process keeps it.
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    # Linux: 5 resets the peak of this process and nothing else.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = _loaded_torch()
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages, as installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.distribution(package).version
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe_machine() -> dict[str, Any]:
    """System and cores; for a stage with networks also threads and the GPU, its memory in GiB."""
    machine: dict[str, Any] = {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
    torch = _loaded_torch()
    if torch:
        machine["threads"] = torch.get_num_threads()
    if torch and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        machine["gpu"] = properties.name
        machine["gpu_gib"] = round(properties.total_memory / _GIB, 1)
        machine["cuda"] = torch.version.cuda
    return machine


def _loaded_torch() -> Any:
    """PyTorch if this process has imported it; the import takes seconds, so others skip it."""
    return sys.modules.get("torch")


def code_version() -> dict[str, str]:
    """The git revision (`-dirty` with uncommitted changes), and a digest of the source files."""
    # The digest also identifies a copy without git.
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
