"""Groups of flags that several stages share."""

from dataclasses import dataclass

from epsam.config.flags import flag

SPLITS = ("train", "val", "test")
PerSplit = tuple[int, int, int]
"""One number each for train, val and test."""


@dataclass(frozen=True)
class DebugOptions:
    """Errors"""

    debug: bool = flag(False, "on an error, print the traceback, too", affects_result=False)


@dataclass(frozen=True)
class NameOptions(DebugOptions):
    """Dataset"""

    dataset_type: str = flag(
        "demo",
        "name of the dataset, a folder of dataset/: demo, camelyon16, camelyon17, or your own",
        affects_result=True,
    )


@dataclass(frozen=True)
class DataOptions(NameOptions):
    """Data folders"""

    dataset_root: str = flag("dataset", "folder that holds the datasets", affects_result=False)
    test_dataset_dir: str = flag(
        "",
        "test folder with image/ and mask/ (infer.py: or slides, or one slide); empty: "
        "dataset/<name>/test",
        affects_result=False,
    )


@dataclass(frozen=True)
class SplitOptions(DataOptions):
    """Training and validation folders"""

    train_dataset_dir: str = flag(
        "", "train folder with image/ and mask/; empty: dataset/<name>/train", affects_result=False
    )
    val_dataset_dir: str = flag(
        "", "val folder with image/ and mask/; empty: dataset/<name>/val", affects_result=False
    )


@dataclass(frozen=True)
class SeedOptions:
    """Randomness"""

    seed: int = flag(
        22,
        "seed of all random numbers",
        source="published code, classifier stage",
        at_least=0,
        affects_result=True,
        affects_only=("selection", "training", "inference"),
    )


@dataclass(frozen=True)
class ReplaceOptions:
    """Replacing finished work"""

    replace: bool = flag(
        False,
        "replace what is finished with other options or inputs, and what follows from it; "
        "otherwise one line says what that would be",
        affects_result=False,
    )


@dataclass(frozen=True)
class RestartOptions(ReplaceOptions):
    """Finished stages"""

    restart: bool = flag(
        False, "start this stage again instead of continuing from its files", affects_result=False
    )


@dataclass(frozen=True)
class ShardOptions:
    """Several machines"""

    shard: str = flag(
        "",
        "compute shard i/n of the slides or patches alone, such as 2/3; what needs all of them is "
        "left to --merge, or for patches to this stage without --shard",
        affects_result=False,
    )


@dataclass(frozen=True)
class MergeOptions(ShardOptions):
    """Several machines"""

    merge: bool = flag(
        False,
        "merge the results of all shards, after checking that no slide is missing",
        affects_result=False,
    )


@dataclass(frozen=True)
class LeafOptions:
    """Several processes"""

    leaves: int = flag(
        0,
        "parts that each batch is cut into, so that the weights do not depend on the number of "
        "processes; 0: as the stage began, else none in one process, and 8 in several",
        choices=("0", "1", "2", "4", "8", "16", "32", "64"),
        affects_result=True,
        affects_only=("training",),
        since="0.3",
    )


@dataclass(frozen=True)
class SlideResolutionOptions:
    """Slides without a pixel size"""

    slide_mpp: float = flag(
        0.0,
        "pixel size of slides whose file does not state it, µm/px; 0: unknown",
        at_least=0,
        affects_result=True,
    )


@dataclass(frozen=True)
class AnnotationOptions:
    """Annotations"""

    tumour_groups: tuple[str, ...] = flag(
        (),
        "further groups (ASAP) or classes (QuPath) of annotations that are tumour; spaces and the "
        "case of letters play no part",
        affects_result=True,
        affects_only=("candidates", "selection"),
    )
    hole_groups: tuple[str, ...] = flag(
        (),
        "further groups or classes of annotations that are cleared from the tumour",
        affects_result=True,
        affects_only=("candidates", "selection"),
    )


@dataclass(frozen=True)
class RunFolderOptions(NameOptions):
    """Run"""

    run: str = flag(
        "",
        "name of the run, its folder under checkpoints/; empty: the dataset's name",
        affects_result=False,
    )
    checkpoint_root: str = flag(
        "checkpoints", "folder that holds SAM's weights and the runs", affects_result=False
    )


@dataclass(frozen=True)
class RunOptions(RunFolderOptions, DataOptions):
    """Device and precision"""

    device: str = flag(
        "auto",
        "where to compute; auto takes the GPU if there is one",
        choices=("auto", "cpu", "cuda"),
        affects_result=False,
    )
    precision: str = flag(
        "auto",
        "arithmetic of the networks; auto takes bf16 on a GPU that has it, fp16 on an older one "
        "with tensor cores, else fp32; on a CPU bf16 is faster if the processor has it",
        choices=("auto", "fp32", "bf16", "fp16"),
        affects_result=False,
    )


@dataclass(frozen=True)
class LoggerOptions:
    """TensorBoard"""

    tensorboard: bool = flag(
        False,
        "write metrics and panels for TensorBoard, too, to the run's tensorboard/",
        affects_result=False,
    )


@dataclass(frozen=True)
class RecipeOptions:
    """Method"""

    # The constants themselves are other flags, which say what a result was computed with.
    recipe: str = flag(
        "ep_sam",
        "method that this stage is a part of, as METHOD of train.sh; its constants take the place "
        "of the defaults of flags that are not given",
        affects_result=False,
    )
    method_preset: str = flag(
        "default",
        "constants of the method: those of this project, or those of the authors' research scripts",
        choices=("default", "authors"),
        affects_result=False,
    )


@dataclass(frozen=True)
class StageOptions(RecipeOptions, LoggerOptions, RestartOptions, RunOptions, SplitOptions):
    """Sanity checks"""

    allow_degenerate: bool = flag(
        False,
        "continue even if the stage before left nothing to learn from, as its log says",
        affects_result=False,
    )


@dataclass(frozen=True)
class ShardedStageOptions(ShardOptions, StageOptions):
    """Several machines"""
