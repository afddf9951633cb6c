"""The provenance of results, for a report: time and memory, versions and machine, every option, and
failures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epsam.config.inference import GateOptions
from epsam.core.files import read_json
from epsam.evaluation.thresholds import load_thresholds
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.page import PageTable, make_table

RunProvenance = Mapping[str, Mapping[str, Any]]
"""Stage → its entry of record.json."""

OptionsByStage = Mapping[str, Mapping[str, Any]]

COST_COLUMNS = {"seconds": "seconds", "peak_ram_gib": "RAM, GiB", "peak_gpu_gib": "GPU, GiB"}
"""Field of an entry → its column in the table of stages."""
MOST_FAILURES = 10
"""This project: failures that are listed one by one."""


def stage_rows(stages: RunProvenance) -> list[dict[str, object]]:
    """Wall time of each stage's last session and its peaks of memory, in the order in which they
    ended.
    """
    rows = []
    for stage, entry in _in_order(stages):
        row: dict[str, object] = {"stage": stage}
        for name, title in COST_COLUMNS.items():
            if name in entry:
                row[title] = entry[name]
        rows.append(row)
    return rows


def stage_table(stages: RunProvenance) -> PageTable | None:
    """Seconds and memory of each stage; None without any."""
    rows = stage_rows(stages)
    columns = ["stage"]
    for title in COST_COLUMNS.values():
        # A CPU has no GPU memory to report.
        if any(title in row for row in rows):
            columns.append(title)
    return make_table(columns, rows)


def describe_last_machine(stages: RunProvenance) -> str:
    """When the last stage ended, on what machine, and with which versions; empty without any."""
    if not stages:
        return ""
    _, entry = _in_order(stages)[-1]
    machine = entry.get("machine", {})
    versions = entry.get("versions", {})
    # Entries of older records may lack fields.
    parts = [
        str(entry.get("ended", "")),
        machine.get("gpu", f"{machine.get('cores', '?')} CPU cores"),
        f"PyTorch {versions.get('torch', '?')}",
        f"Python {versions.get('python', '?')}",
        f"code {entry.get('code', {}).get('git', '?')}",
    ]
    return "; ".join(part for part in parts if part)


def options_of_stages(stages: RunProvenance) -> dict[str, Mapping[str, Any]]:
    """The options of each stage."""
    return {stage: entry["options"] for stage, entry in stages.items()}


def option_tables(options: OptionsByStage) -> list[PageTable]:
    """A folded table of each stage's options."""
    tables = []
    for stage, flags in options.items():
        rows = []
        for name, value in flags.items():
            rows.append({"flag": f"--{name}", "value": _format_value(value)})
        table = make_table(("flag", "value"), rows, f"{stage}: {len(flags)} options")
        if table:
            tables.append(table)
    return tables


def format_failures(failures: Sequence[tuple[str, str]], total: int, kind: str) -> list[str]:
    """Warnings about failed items, (name, reason) each, out of `total` of a `kind`; nothing if none
    failed.
    """
    if not failures:
        return []
    # A folder in which everything fails would fill the page with one reason.
    messages = [f"{len(failures)} of {total} {kind} failed."]
    messages += [f"{name}: {reason}" for name, reason in failures[:MOST_FAILURES]]
    if len(failures) > MOST_FAILURES:
        messages.append(f"… and {len(failures) - MOST_FAILURES} more.")
    return messages


def warn_of_small_sam(options: OptionsByStage) -> list[str]:
    """A warning if any stage used a small stand-in for SAM."""
    sam_names = {flags.get("sam_model_type") for flags in options.values()}
    return [
        f"Computed with {name}, a small stand-in: its scores say nothing about SAM ViT-B."
        for name in ("vit_demo", "vit_small")
        if name in sam_names
    ]


def read_stage_options(run: RunPaths, data: DatasetPaths) -> dict[str, Mapping[str, Any]]:
    """The options of each stage, from the patches on; those of record.json are the latest."""
    options = {
        "extract_patches": read_record(data.patch_options).get("options", {}),
        **read_record(run.options),
        **options_of_stages(read_record(run.record)),
    }
    return {stage: flags for stage, flags in options.items() if flags}


def read_record(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty without the file."""
    return read_json(path) if path.is_file() else {}


def find_gate_threshold(run: RunPaths, options: OptionsByStage) -> float:
    """That of the evaluation; 0 without a gate."""
    thresholds = load_thresholds(run)
    if thresholds is not None:
        return thresholds.gate
    flags = options.get("evaluate", {})
    if not flags.get("classifier_gate", True):
        return 0.0
    return float(flags.get("gate_threshold", GateOptions.gate_threshold))


def list_by_end(stages: RunProvenance) -> list[str]:
    """The stages in the order in which they ended."""
    return [stage for stage, _ in _in_order(stages)]


def _in_order(stages: RunProvenance) -> list[tuple[str, Mapping[str, Any]]]:
    """(stage, entry) in the order in which they ended."""
    return sorted(stages.items(), key=lambda item: str(item[1].get("ended", "")))


def _format_value(value: object) -> object:
    """A value as a user would type it."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return "empty" if value == "" else value
