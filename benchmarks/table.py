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
    """A heading, a header and a line for each result, for every machine that there are results
    of.
    """
    machines = list(
        dict.fromkeys(json.dumps(result["machine"], sort_keys=True) for result in results.values())
    )
    lines = []
    for number, machine in enumerate(machines):
        own = {
            name: result
            for name, result in results.items()
            if json.dumps(result["machine"], sort_keys=True) == machine
        }
        lines += ["", *table(own)] if number else table(own)
    return lines


def table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
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
        sides = [
            f"{result[side]}: {result[f'{side}_value']:.3g} {result['unit']}"
            for side in ("plain", "ours")
        ]
        note = f" ({result['note']})" if result["note"] else ""
        verdict = "" if result["met"] else ", missed"
        lines.append(
            f"| {name.split(', ')[0]}{note} | {sides[0]} | {sides[1]} | {result['ratio']:.2f} | "
            f"≥ {result['target']:.3g}{verdict} |"
        )
    return lines


if __name__ == "__main__":
    main()
