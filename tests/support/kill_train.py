"""Kill train.sh with SIGKILL at random moments, run it again each time, and compare all it leaves
with a quiet run.

    python tests/support/kill_train.py --kills 30 --seed 0
From tiny slides to the report, on the CPU; state is saved after every step, so that a kill falls
into an epoch and not back to its start. Ends with 0 if every final file is the same, bit for bit,
and prints one line a kill.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests")]

from support.mini import FLAGS, clone, start, write_slides  # noqa: E402

# They tell moments and durations, which no two runs share; what else the report shows comes from
# files compared here.
LEFT_OUT = {"record.json", "report.html", "report.json", "model_card.md"}
TIMED = ("seconds", "data_wait_share")


def flags(classifier_epochs: int, decoder_epochs: int) -> dict[str, str]:
    """Stages of several epochs, so that there is an order to lose; the rounds end with the last
    epoch's weights, so that every step counts.
    """
    decoder = FLAGS["DECODER_FLAGS"].replace("--epoch 1 ", f"--epoch {decoder_epochs} ")
    return {
        "PATCH_FLAGS": "--patch_size 64 --stride 64 --workers 2",
        "CLASSIFIER_FLAGS": FLAGS["CLASSIFIER_FLAGS"].replace(
            "--epoch 5 ", f"--epoch {classifier_epochs} "
        ),
        "DECODER_FLAGS": decoder,
        "RETRAIN_FLAGS": f"{decoder} --n_iter 2 --select_on last",
        "SAM_CHECKPOINT": str(REPOSITORY / "checkpoints" / "sam_vit_demo.pth"),
    }


# As much work as a start of Python takes, so that kills fall into it.
LONG = flags(classifier_epochs=8, decoder_epochs=4)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        differences = kill_test(Path(folder), arguments.kills, arguments.seed, LONG)
    print("\n".join(differences) or f"{arguments.kills} kills: every final file is the same")
    return int(bool(differences))


def kill_test(folder: Path, kills: int, seed: int, stages: dict[str, str]) -> list[str]:
    """What differs between a quiet run and runs that were killed `kills` times in all; moments are
    drawn by `seed`.

    A run that comes to its end between two kills is compared and begun anew. stages: variables of
    train.sh.
    """
    # All runs start from one copy: the repository may change meanwhile.
    fresh, quiet, killed = (folder / name for name in ("fresh", "quiet", "killed"))
    prepare_clone(fresh)
    shutil.copytree(fresh, quiet)
    shutil.copytree(fresh, killed)
    work = finish(quiet, stages)
    print(f"a quiet run takes {work:.0f} s of computing", flush=True)
    expected, differences, ended = fingerprints(quiet), [], 0
    moments, where = random.Random(seed), Counter[str]()
    while where.total() < kills:
        moment = moments.uniform(0, work)
        if stage := kill_after(killed, stages, moment):
            where[stage] += 1
            print(
                f"kill {where.total()} after {moment:.1f} s in {stage}; log: {last_line(killed)}",
                flush=True,
            )
        else:
            # The next kills need something to interrupt.
            differences += differing(expected, fingerprints(killed))
            ended += 1
            shutil.rmtree(killed)
            shutil.copytree(fresh, killed)
    finish(killed, stages)
    print(
        "kills by stage:",
        ", ".join(f"{stage} {count}" for stage, count in where.most_common()),
        flush=True,
    )
    print(f"runs that came to their end and were compared: {ended + 1}", flush=True)
    return differences + differing(expected, fingerprints(killed))


def prepare_clone(folder: Path, write_data: Callable[[Path], None] = write_slides) -> Path:
    """A clone with data whose fits save their state after every step, where a user's do so every
    few minutes.
    """
    folder.mkdir()
    fit = clone(folder, write_data) / "src" / "epsam" / "engine" / "fit.py"
    hasty, count = re.subn(r"SAVE_EVERY_S = [\d.]+", "SAVE_EVERY_S = 0.0", fit.read_text("utf-8"))
    assert count == 1
    fit.write_text(hasty, "utf-8")
    return folder


def finish(folder: Path, stages: dict[str, str]) -> float:
    """Run to the end, and tell the processor's seconds that it took."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    output, _ = (process := start(folder, "./train.sh", **stages)).communicate()
    if process.returncode:
        raise SystemExit(f"{folder}: train.sh ended with {process.returncode}\n{output}")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


def kill_after(folder: Path, stages: dict[str, str], seconds: float) -> str:
    """Start train.sh and kill its whole process group once it has computed for so many seconds,
    however busy the machine is; which stage was hit, empty if it ended before.
    """
    process = start(folder, "./train.sh", **stages)
    while True:
        try:
            output, _ = process.communicate(timeout=0.05)
        except subprocess.TimeoutExpired:
            if computed(process.pid) < seconds:
                continue
            stage = running(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return stage
        if process.returncode:
            raise SystemExit(
                f"{folder}: train.sh ended with {process.returncode} on its own\n{output}"
            )
        return ""


def computed(group: int) -> float:
    """Processor's seconds that a process group took so far, with those of its children that have
    ended.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def running(group: int) -> str:
    """Which of the stages a process group is in, or that it is between two of them."""
    commands = subprocess.run(
        ["ps", "-A", "-o", "pgid=,args="], capture_output=True, text=True, check=True
    ).stdout
    mine = [line for line in commands.splitlines() if line.split()[0] == str(group)]
    match = re.search(r"src/(\w+)\.py", "\n".join(mine))
    return match[1] if match else "train.sh itself"


def last_line(folder: Path) -> str:
    log = folder / "logging_mini.txt"
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.is_file() else []
    return lines[-1][:90] if lines else "nothing"


def fingerprints(folder: Path) -> dict[str, str]:
    """Digest of every final file of the run and of the dataset, durations left out."""
    digests = {}
    for root in (folder / "checkpoints" / "mini", folder / "dataset" / "mini"):
        # A killed writer leaves its hidden half of a file in the shared cache: no one reads it.
        for path in sorted(
            p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")
        ):
            if path.name not in LEFT_OUT:
                digests[path.relative_to(folder).as_posix()] = hashlib.sha256(
                    essence(path)
                ).hexdigest()
    return digests


def essence(path: Path) -> bytes:
    if path.name != "metrics.csv":
        return path.read_bytes()
    with path.open(newline="", encoding="utf-8") as stream:
        return json.dumps(
            [row for row in csv.DictReader(stream) if row["name"] not in TIMED]
        ).encode()


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    if not one:
        return ["the quiet run left no files"]
    return [
        f"{name}: {'differs' if name in one and name in other else 'is in one run only'}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
