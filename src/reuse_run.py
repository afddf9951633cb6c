"""A new run with the finished work of another, up to the preliminary decoder; by links, nothing is
copied.
"""

import logging
from dataclasses import replace

from epsam.ablation.reuse import read_fingerprint, reuse_stage
from epsam.config.command_line import run_stage
from epsam.config.reuse import ReuseOptions
from epsam.core.errors import DatasetError
from epsam.paths import RunPaths, run_folder
from epsam.pipeline import STAGES

log = logging.getLogger(__name__)

REUSED = ("train_classifier", "generate_initial_masks", "finetune_decoder")


def main(options: ReuseOptions) -> None:
    """Link the stages of `REUSED` from the source run.

    Raises DatasetError if the source run has not finished them, or is the run itself.
    """
    source = RunPaths.of(replace(options, run=options.source_run))
    target = RunPaths.of(options)
    if not options.source_run or source.root.resolve() == target.root.resolve():
        raise DatasetError(
            f"{target.root}: reuses work of another run; name that by --source_run, and this one "
            "by --run"
        )
    for name in REUSED:
        completion = STAGES[name].completion
        if not read_fingerprint(source, completion):
            raise DatasetError(
                f"{source.root}: has not finished {name}.py, whose work a corrected run goes on "
                "from; run ./train.sh without CORRECTIONS first, or correct RUN"
            )
    for name in REUSED:
        reuse_stage(source, target, STAGES[name].completion)
    log.info("%s: goes on from the preliminary decoder of %s", target.root, source.root)


if __name__ == "__main__":
    run_stage("reuse_run", ReuseOptions, main, owns=run_folder)
