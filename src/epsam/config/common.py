"""Every flag once: name, default, unit, help and source.

A stage's options are one frozen dataclass put together from groups; `config/command_line.py` turns
it into flags. Those of infer.py are in options.py of inference/, those of scripts beside the
pipeline in options.py of ablation/, preflight/, report/ and synthetic/. What a dataset changes is a
row of `PRESETS`, what a way to train changes one of `METHODS`, never a branch. Precedence: default
< dataset < method < command line.
"""

from dataclasses import dataclass

from epsam.config.flags import flag

SPLITS = ("train", "val", "test")
PerSplit = tuple[int, int, int]
"""One number each for train, val and test."""


@dataclass(frozen=True)
class NameOptions:
    """Which dataset, by name."""

    dataset_type: str = flag(
        "demo", "dataset: a folder of dataset/ (demo, camelyon16, camelyon17 or one of your own)"
    )
    debug: bool = flag(False, "on an error, print the traceback too", affects_result=False)


@dataclass(frozen=True)
class DataOptions(NameOptions):
    """Where its data lie."""

    dataset_root: str = flag("dataset", "folder that holds the datasets", affects_result=False)
    test_dataset_dir: str = flag(
        "",
        "test folder with image/ and mask/ (infer.py: or slides, or one slide); empty: "
        "dataset/<name>/test",
        affects_result=False,
    )


@dataclass(frozen=True)
class SplitOptions(DataOptions):
    """The other splits."""

    train_dataset_dir: str = flag(
        "", "train folder with image/ and mask/; empty: dataset/<name>/train", affects_result=False
    )
    val_dataset_dir: str = flag(
        "", "val folder with image/ and mask/; empty: dataset/<name>/val", affects_result=False
    )


@dataclass(frozen=True)
class SeedOptions:
    """Where draws are made."""

    seed: int = flag(
        22, "seed of every random draw", source="published code, classifier stage", at_least=0
    )


@dataclass(frozen=True)
class RestartOptions:
    """Stages that are skipped once they are done."""

    restart: bool = flag(
        False, "begin this stage again instead of going on from what is there", affects_result=False
    )


@dataclass(frozen=True)
class ShardOptions:
    """Slides spread over machines."""

    shard: str = flag(
        "",
        "share i/n of the slides to work on, such as 2/3, to be merged later",
        affects_result=False,
    )
    merge: bool = flag(
        False,
        "put together what all shards left, after checking that no slide lacks",
        affects_result=False,
    )


@dataclass(frozen=True)
class RunFolderOptions(NameOptions):
    """A run, by name."""

    run: str = flag(
        "",
        "name of the run: its folder under checkpoints/; empty: the dataset's name",
        affects_result=False,
    )
    checkpoint_root: str = flag(
        "checkpoints", "folder that holds SAM's weights and the runs", affects_result=False
    )


@dataclass(frozen=True)
class RunOptions(RunFolderOptions, DataOptions):
    """A run, its data, and where it computes."""

    device: str = flag(
        "auto",
        "where to compute; auto takes the GPU if there is one",
        choices=("auto", "cpu", "cuda"),
        affects_result=False,
    )
    precision: str = flag(
        "auto",
        "arithmetic of the networks; auto takes bf16 on a GPU that has it, fp16 on an "
        "older one with tensor cores, else fp32; on a CPU bf16 is faster if the processor has it",
        choices=("auto", "fp32", "bf16", "fp16"),
        affects_result=False,
    )


@dataclass(frozen=True)
class LoggerOptions:
    """What is told while a stage goes on."""

    tensorboard: bool = flag(
        False,
        "TensorBoard's figures and panels, too, in tensorboard/ of the run",
        affects_result=False,
    )


@dataclass(frozen=True)
class StageOptions(LoggerOptions, RestartOptions, RunOptions, SplitOptions):
    """What every stage of a training run takes."""

    allow_degenerate: bool = flag(
        False,
        "go on even if the stage before left nothing to learn from, as its log says",
        affects_result=False,
    )
