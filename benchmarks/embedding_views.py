"""Dice and time with 1, 2, 4 and 8 cached transforms of each patch, as a Markdown table.

    python benchmarks/embedding_views.py
        demo and glas, seeds 22 to 24, preliminary decoder
    python benchmarks/embedding_views.py --datasets demo --seeds 22 --rounds

The table shows how many transforms are worth their disk space. The runs are those of ./ablate.sh,
under checkpoints/views-<dataset>; finished ones are not repeated. dataset/glas has to hold train/
and val/ (GlaS in the layout of dataset/README.md).
"""

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.ablation.paper_tables import FINAL
from epsam.ablation.results import read_scores
from epsam.core.files import read_json
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.paths import RunPaths

ROOT = Path(__file__).resolve().parents[1]
TRANSFORM_COUNTS = (1, 2, 4, 8)
HEADER = (
    "| dataset | views | encoder passes | Dice, mean over seeds | lowest and highest "
    "| seconds to fit |",
    "|---|---:|---:|---:|---|---:|",
)


@dataclass(frozen=True)
class RunResult:
    """One run: mean Dice of the last decoder by split, and the seconds of fitting its decoders."""

    dice: dict[str, float]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=["demo", "glas"], metavar="NAME")
    parser.add_argument("--seeds", default="22,23,24")
    parser.add_argument(
        "--rounds", action="store_true", help="with the rounds, not the first decoder only"
    )
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for dataset in options.datasets:
        run_all(dataset, options.seeds, options.rounds)

    print("\n".join(HEADER))
    for dataset in options.datasets:
        folder = ROOT / "checkpoints" / f"views-{dataset}"
        for n_transforms in TRANSFORM_COUNTS:
            print(format_row(dataset, folder, n_transforms, seeds))


def run_all(dataset: str, seeds: str, rounds: bool) -> None:
    """Run ./ablate.sh with a row for each number of transforms.

    Raises CalledProcessError if it fails.
    """
    end = "" if rounds else "UNTIL=preliminary "
    rows = []
    for count in TRANSFORM_COUNTS:
        rows.append(f'views_{count} {end}DECODER_FLAGS="--embedding_transforms {count}"')
    environment = {
        **os.environ,
        "DATASET_TYPE": dataset,
        "NAME": f"views-{dataset}",
        "SEEDS": seeds,
        "ONLY": "",
        "ROWS": "\n".join(rows),
    }
    subprocess.run(["bash", "./ablate.sh"], cwd=ROOT, env=environment, check=True)


def format_row(dataset: str, folder: Path, n_transforms: int, seeds: list[int]) -> str:
    """The table's row for one number of transforms.

    Dice is that of the test split if it has ground truth, else of validation.
    """
    results = []
    for seed in seeds:
        results.append(load_result(RunPaths(folder / f"views_{n_transforms}" / f"seed_{seed}")))

    split = "test" if "test" in results[0].dice else "val"
    dice = [result.dice[split] for result in results]
    seconds = statistics.mean(result.seconds for result in results)
    n_train = len(select_positives(list_labelled_patches(ROOT / "dataset" / dataset / "train")))
    return (
        f"| {dataset}, {split} | {n_transforms} | {n_train * n_transforms:,} "
        f"| {statistics.mean(dice):.4f} | {min(dice):.4f} to {max(dice):.4f} | {seconds:.0f} |"
    )


def load_result(run: RunPaths) -> RunResult:
    """The result of a finished run."""
    dice = {}
    for (split, predictor), score in read_scores(run).items():
        if predictor == FINAL:
            dice[split] = statistics.mean(score.dice.values())

    seconds = 0.0
    for stage, entry in read_json(run.record).items():
        if stage.startswith("decoder_"):
            seconds += entry["seconds"]
    return RunResult(dice, seconds)


if __name__ == "__main__":
    main()
