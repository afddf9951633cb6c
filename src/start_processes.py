"""Start a stage in several processes that share its work: one for each GPU, or on a CPU.

usage: python src/start_processes.py N src/train_classifier.py FLAGS…
"""

import sys

from epsam.core.launcher import Launcher


def main(arguments: list[str]) -> int:
    """The exit code of the stage; 2 if the arguments are not as above."""
    if "--help" in arguments[:1] or len(arguments) < 2 or not arguments[0].isdecimal():
        print(__doc__.strip(), file=sys.stderr)
        return 0 if "--help" in arguments[:1] else 2
    size = int(arguments[0])
    if size < 1:
        print(f"start_processes.py: error: {size} processes; give 1 or more", file=sys.stderr)
        return 2
    return Launcher(size, arguments[1:]).run()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
