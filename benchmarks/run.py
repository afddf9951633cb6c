"""Run benchmarks by name, print each ratio, and store the results in benchmarks/results.json.

    python benchmarks/run.py                       all of them, on the CPU
    python benchmarks/run.py encoder --device cuda

Each benchmark measures both sides in the same run. Results of another device stay in the file
beside the new ones. table.py prints the file as Markdown tables; planning.py estimates a large run
from it.
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
import pam_cases
import prompt_cases
import sam_cases
import slide_cases
from measure import Comparison, describe_machine

from epsam.core.files import write_json

RESULTS = Path(__file__).with_name("results.json")

CASES: dict[str, Callable[[str], Comparison]] = {
    "encoder": sam_cases.encoder,
    "compiled_encoder": sam_cases.compiled_encoder,
    "batched_decoder": sam_cases.batched_decoder,
    "prompt_sampling": prompt_cases.prompt_sampling,
    "prompt_affinity": pam_cases.prompt_affinity,
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
        "names", nargs="*", metavar="NAME", help=f"benchmarks: {' '.join(CASES)}; none: all"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(CASES))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(CASES)}")
    for name in options.names or CASES:
        try:
            comparison = CASES[name](options.device)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error.name} is not installed")
            continue
        print_comparison(name, comparison)
        save_comparison(name, options.device, comparison)


def print_comparison(name: str, comparison: Comparison) -> None:
    """Print a line with both times and their ratio."""
    plain = f"{comparison.plain}: {comparison.plain_value:.4g} {comparison.unit}"
    ours = f"{comparison.ours}: {comparison.ours_value:.4g} {comparison.unit}"
    ratio = f"ratio {comparison.ratio:.2f} (target {comparison.target:g})"
    print(f"{name:<20} {plain}   {ours}   {ratio}", flush=True)


def save_comparison(name: str, device: str, comparison: Comparison) -> None:
    """Store one result in results.json; it replaces an earlier one of that name and device."""
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    results[f"{name}, {device}"] = {**comparison.as_row(), "machine": describe_machine(device)}
    write_json(RESULTS, dict(sorted(results.items())))


if __name__ == "__main__":
    main()
