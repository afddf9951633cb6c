"""How results were made, for a report: what it took, versions and machine, every option, and what
went wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from epsam.report.page import folded, paragraph, table

RunProvenance = Mapping[str, Mapping[str, Any]]
"""Stage → its entry of record.json."""

STAGE_FIGURES = {"seconds": "seconds", "peak_ram_gib": "RAM, GiB", "peak_gpu_gib": "GPU, GiB"}
MOST_FAILURES = 10
"""Ours: failures that are told one by one."""


def stage_rows(stages: RunProvenance) -> list[dict[str, object]]:
    """Wall time of each stage's last session and its peaks of memory, in the order in which they
    ended.
    """
    ordered = sorted(stages.items(), key=lambda item: str(item[1].get("ended", "")))
    return [
        {
            "stage": stage,
            **{title: entry[name] for name, title in STAGE_FIGURES.items() if name in entry},
        }
        for stage, entry in ordered
    ]


def stages_part(stages: RunProvenance) -> str:
    """Seconds and memory of each stage, and on what the last one ran; empty without any."""
    told = [
        _made_on(entry)
        for entry in sorted(stages.values(), key=lambda entry: str(entry.get("ended", "")))
    ]
    rows = stage_rows(stages)
    columns = [
        "stage",
        *(title for title in STAGE_FIGURES.values() if any(title in row for row in rows)),
    ]
    return table(columns, rows) + (paragraph(told[-1]) if told else "")


def options_part(options: Mapping[str, Mapping[str, Any]]) -> str:
    """Every option of each stage, folded."""
    return "".join(
        folded(
            f"{stage}: {len(flags)} options",
            table(
                ("flag", "value"),
                [{"flag": f"--{name}", "value": _shown(value)} for name, value in flags.items()],
            ),
        )
        for stage, flags in options.items()
    )


def format_failures(failures: Sequence[tuple[str, str]], of: int, kind: str) -> list[str]:
    """Warnings about things that failed, (name, reason) each; nothing if none did."""
    if not failures:
        return []
    shown = [f"{name}: {reason}" for name, reason in failures[:MOST_FAILURES]]
    more = [f"… and {len(failures) - MOST_FAILURES} more."] if len(failures) > MOST_FAILURES else []
    return [f"{len(failures)} of {of} {kind} failed.", *shown, *more]


def stand_in_note(options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning if any stage used the stand-in for SAM."""
    models = {flags.get("sam_model_type") for flags in options.values()}
    return (
        ["Made with vit_demo, a small stand-in: its figures say nothing about SAM ViT-B."]
        if "vit_demo" in models
        else []
    )


def _made_on(entry: Mapping[str, Any]) -> str:
    machine, versions = entry.get("machine", {}), entry.get("versions", {})
    parts = [
        str(entry.get("ended", "")),
        machine.get("gpu", f"{machine.get('cores', '?')} CPU cores"),
        f"PyTorch {versions.get('torch', '?')}",
        f"Python {versions.get('python', '?')}",
        f"code {entry.get('code', {}).get('git', '?')}",
    ]
    return "; ".join(part for part in parts if part)


def _shown(value: object) -> object:
    return (
        ",".join(map(str, value))
        if isinstance(value, list | tuple)
        else "empty"
        if value == ""
        else value
    )
