"""benchmarks/results.json as the Markdown tables of the docs, one for each machine.

python benchmarks/table.py [FILE]
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    if not path.is_file():
        raise SystemExit(f"error: {path}: no results there; run python benchmarks/run.py")
    print("\n".join(tables(json.loads(path.read_text("utf-8")))))


def tables(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of one table for each machine: a heading, a header and a row for each result."""
    by_machine: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, result in results.items():
        machine = json.dumps(result["machine"], sort_keys=True)
        by_machine.setdefault(machine, {})[name] = result

    lines: list[str] = []
    for machine_results in by_machine.values():
        if lines:
            lines.append("")
        lines += machine_table(machine_results)
    return lines


def machine_table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of one machine's table."""
    machine = next(iter(results.values()))["machine"]
    device = machine.get("gpu", f"{machine['cpu']}, {machine['threads']} threads")
    lines = [
        f"{device}, torch {machine['torch']}, Python {machine['python']}:",
        "",
        "| benchmark | plain | ours | ratio | target |",
        "|---|---|---|---:|---:|",
    ]
    for name, result in results.items():
        plain = f"{result['plain']}: {result['plain_value']:.3g} {result['unit']}"
        ours = f"{result['ours']}: {result['ours_value']:.3g} {result['unit']}"
        note = f" ({result['note']})" if result["note"] else ""
        verdict = "" if result["met"] else ", missed"
        lines.append(
            f"| {name.split(', ')[0]}{note} | {plain} | {ours} | {result['ratio']:.2f} | "
            f"≥ {result['target']:.3g}{verdict} |"
        )
    return lines


if __name__ == "__main__":
    main()
