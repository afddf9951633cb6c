"""Kill train.sh with SIGKILL at random moments, run it again each time, and compare all it leaves with a quiet run.

    python tests/kill_train.py --kills 30 --seed 0
A tiny dataset, on the CPU. Ends with 0 if every final file is the same, bit for bit, and prints one line a kill.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests")]

from mini import clone, start  # noqa: E402

# They tell moments and durations, which no two runs share; what else the report shows comes from files compared here.
LEFT_OUT = {"record.json", "report.html"}
TIMED = ("seconds", "data_wait_share")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        differences = kill_test(Path(folder), arguments.kills, arguments.seed)
    print("\n".join(differences) or f"{arguments.kills} kills: every final file is the same")
    return int(bool(differences))


def kill_test(folder: Path, kills: int, seed: int) -> list[str]:
    """What differs between a quiet run and one that was killed `kills` times; moments are drawn by `seed`."""
    quiet, killed = (clone(made(folder / name)) for name in ("quiet", "killed"))
    began = time.monotonic()
    finish(quiet)
    duration = time.monotonic() - began
    print(f"a quiet run takes {duration:.0f} s", flush=True)
    moments, done = random.Random(seed), 0
    while done < kills:
        moment = moments.uniform(0, duration)
        if kill_after(killed, moment):
            done += 1
            print(f"kill {done} after {moment:.1f} s, {reached(killed)}", flush=True)
        else:
            # It came to its end before the kill: the next kills need something to interrupt.
            shutil.rmtree(killed / "checkpoints" / "mini")
            shutil.rmtree(killed / "dataset" / "mini" / "embeddings")
    finish(killed)
    return differing(fingerprints(quiet), fingerprints(killed))


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def finish(folder: Path) -> None:
    output, _ = (process := start(folder, "./train.sh")).communicate()
    if process.returncode:
        raise SystemExit(f"{folder}: train.sh ended with {process.returncode}\n{output}")


def kill_after(folder: Path, seconds: float) -> bool:
    """Start train.sh and kill its whole process group after a while; False if it ended before."""
    process = start(folder, "./train.sh")
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode:
        raise SystemExit(f"{folder}: train.sh ended with {process.returncode} on its own\n{output}")
    return False


def reached(folder: Path) -> str:
    marks = sorted(path.stem for path in (folder / "checkpoints" / "mini" / "stages").glob("*.json"))
    return f"done: {', '.join(marks) or 'nothing'}"


def fingerprints(folder: Path) -> dict[str, str]:
    """Digest of every final file of the run and of the dataset, durations left out."""
    found = {}
    for root in (folder / "checkpoints" / "mini", folder / "dataset" / "mini"):
        # A killed writer leaves its hidden half of a file in the shared cache: no one reads it.
        for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")):
            if path.name not in LEFT_OUT:
                found[path.relative_to(folder).as_posix()] = hashlib.sha256(essence(path)).hexdigest()
    return found


def essence(path: Path) -> bytes:
    if path.name != "metrics.csv":
        return path.read_bytes()
    with path.open(newline="", encoding="utf-8") as stream:
        return json.dumps([row for row in csv.DictReader(stream) if row["name"] not in TIMED]).encode()


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    if not one:
        return ["the quiet run left no files"]
    return [f"{name}: {'differs' if name in one and name in other else 'is in one run only'}"
            for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


if __name__ == "__main__":
    raise SystemExit(main())
