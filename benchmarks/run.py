"""Run benchmarks by name, print each ratio, and keep them in benchmarks/results.json.

    python benchmarks/run.py                       all of them, on the CPU
    python benchmarks/run.py encoder --device cuda

Each measures both sides in one run. Results of another device stay in the file beside the new ones;
table.py prints them as Markdown, and planning.py what a large run takes by them.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import classifier_cases
import sam_cases
import slide_cases
from measure import Comparison, machine

from epsam.core.files import write_json

RESULTS = Path(__file__).with_name("results.json")

CASES: dict[str, Callable[[str], Comparison]] = {
    "encoder": sam_cases.encoder,
    "compiled_encoder": sam_cases.compiled_encoder,
    "batched_decoder": sam_cases.batched_decoder,
    "prompt_sampling": sam_cases.prompt_sampling,
    "cached_step": sam_cases.cached_step,
    "training_image": sam_cases.training_image,
    "whole_schedule": sam_cases.whole_schedule,
    "activation_maps": classifier_cases.activation_maps,
    "activation_maps_bf16": partial(classifier_cases.activation_maps, precision="bf16"),
    "classifier_step": classifier_cases.training_step,
    "slide_pixels": slide_cases.pixels,
    "slide_seconds": slide_cases.seconds,
    "windows_per_second": slide_cases.openslide,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones: {' '.join(CASES)}; none: all"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(CASES))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(CASES)}")
    for name in given.names or CASES:
        try:
            found = CASES[name](given.device)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error.name} is not installed")
            continue
        print(
            f"{name:<20} {found.plain}: {found.plain_value:.4g} {found.unit}   {found.ours}: {found.ours_value:.4g} "
            f"{found.unit}   ratio {found.ratio:.2f} (target {found.target:g})",
            flush=True,
        )
        keep(name, given.device, found)


def keep(name: str, device: str, found: Comparison) -> None:
    """Put one result into results.json, in the place of an earlier one of that name and device."""
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    results[f"{name}, {device}"] = {**found.as_row(), "machine": machine(device)}
    write_json(RESULTS, dict(sorted(results.items())))


if __name__ == "__main__":
    main()
