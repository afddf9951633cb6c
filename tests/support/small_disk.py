"""A stage on disks that are too small for it, and on each again with room: for a process that may
mount.

    unshare -rm python tests/support/small_disk.py STAGE STEP FLAG…
The stage works in the folder `disk`, which begins as a copy of `before` with as much room as that
takes; each disk has STEP KiB more, until the stage comes to its end. Prints for each that it did
not fit on, as JSON: what the user is told, digests of what was there then, and of what is there
after the same command with room.
"""

import hashlib
import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / folder) for folder in ("src", "tests")]

from epsam.config.command_line import parse  # noqa: E402
from epsam.config.error_messages import one_line  # noqa: E402
from epsam.config.inference import InferOptions  # noqa: E402
from epsam.config.patches import PatchOptions  # noqa: E402
from support.mini import smaller_sam  # noqa: E402
from support.untimed import contents  # noqa: E402

KINDS = {"extract_patches": PatchOptions, "infer": InferOptions}
DISK = (
    "mount -t tmpfs -o size=64m none disk; cp -r before/. disk; "
    "used=$(df -k --output=used disk | tail -1)"
)


def main() -> None:
    stage, step, *flags = sys.argv[1:]
    trials, room = [], 0
    while True:
        shell(f"{DISK}; mount -o remount,size=$((used + {room}))k disk")
        message = run(stage, flags)
        full = digests(Path("disk"))
        shell("mount -o remount,size=64m disk")
        again = run(stage, flags)
        trials.append(
            {"message": message, "full": full, "again": again, "after": digests(Path("disk"))}
        )
        shell("umount disk")
        if not message:
            print(json.dumps(trials))
            return
        room += int(step)


def shell(command: str) -> None:
    subprocess.run(["bash", "-ec", command], check=True)


def run(stage: str, flags: list[str]) -> str:
    """What a user is told of a full disk; empty if the stage came to its end."""
    options = parse(stage, KINDS[stage], flags)
    try:
        with smaller_sam():
            importlib.import_module(stage).main(options)
    except OSError as error:
        return one_line(error, options)
    return ""


def digests(folder: Path) -> dict[str, str]:
    """Digest of each file without durations; none of what is hidden, which is half done."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents(folder).items()}


if __name__ == "__main__":
    logging.disable()
    main()
