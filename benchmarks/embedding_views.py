"""Which number of kept views is worth its disk: Dice and time with 1, 2, 4 and 8, as a Markdown
table.

    python benchmarks/embedding_views.py                          demo and glas, seeds 22 to 24,
    preliminary decoder
    python benchmarks/embedding_views.py --datasets demo --seeds 22 --rounds

The runs are those of ./ablate.sh, under checkpoints/views-<dataset>; what is there already is not
done again. dataset/glas has to hold train/ and val/ (GlaS in the layout of dataset/README.md).
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.ablation.paper_tables import FINAL
from epsam.ablation.results import read_scores
from epsam.core.files import read_json
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.paths import RunPaths

ROOT = Path(__file__).resolve().parents[1]
VIEWS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Figures:
    """Of one run: mean Dice of the last decoder by split, and the seconds that its decoders took to
    fit.
    """

    dice: dict[str, float]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=["demo", "glas"], metavar="NAME")
    parser.add_argument("--seeds", default="22,23,24")
    parser.add_argument(
        "--rounds", action="store_true", help="with the rounds, not the first decoder only"
    )
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    for name in given.datasets:
        run_all(name, given.seeds, given.rounds)
    print("\n".join(HEADER))
    for name in given.datasets:
        print("\n".join(rows(name, ROOT / "checkpoints" / f"views-{name}", seeds)))


def run_all(dataset: str, seeds: str, rounds: bool) -> None:
    """The runs, by ./ablate.sh; raises CalledProcessError if it fails."""
    end = "" if rounds else "UNTIL=preliminary "
    lines = [
        f'views_{views} {end}DECODER_FLAGS="--embedding_transforms {views}"' for views in VIEWS
    ]
    environment = {
        **os.environ,
        "DATASET_TYPE": dataset,
        "NAME": f"views-{dataset}",
        "SEEDS": seeds,
        "ONLY": "",
        "ROWS": "\n".join(lines),
    }
    subprocess.run(["bash", "./ablate.sh"], cwd=ROOT, env=environment, check=True)


HEADER = (
    "| dataset | views | encoder passes | Dice, mean over seeds | lowest and highest | seconds to fit |",
    "|---|---:|---:|---:|---|---:|",
)


def rows(dataset: str, folder: Path, seeds: list[int]) -> Iterator[str]:
    """A line for each number of views. Dice is of the test split where it has truth, else of
    validation.
    """
    train = len(select_positives(list_labelled_patches(ROOT / "dataset" / dataset / "train")))
    for views in VIEWS:
        found = [figures_of(RunPaths(folder / f"views_{views}" / f"seed_{seed}")) for seed in seeds]
        split = "test" if "test" in found[0].dice else "val"
        dice = [one.dice[split] for one in found]
        yield (
            f"| {dataset}, {split} | {views} | {train * views:,} | {statistics.mean(dice):.4f} | "
            f"{min(dice):.4f} to {max(dice):.4f} | {statistics.mean(one.seconds for one in found):.0f} |"
        )


def figures_of(run: RunPaths) -> Figures:
    """What a finished run left."""
    dice = {
        split: statistics.mean(metrics.dice.values())
        for (split, predictor), metrics in read_scores(run).items()
        if predictor == FINAL
    }
    record = read_json(run.record)
    return Figures(
        dice, sum(entry["seconds"] for name, entry in record.items() if name.startswith("decoder_"))
    )


if __name__ == "__main__":
    main()
