"""Flags of compare.py and ablate.py."""

from dataclasses import dataclass

from epsam.config.common import SPLITS, DataOptions, DebugOptions, ReplaceOptions
from epsam.config.flags import flag


@dataclass(frozen=True)
class CompareOptions(DebugOptions):
    """Compare the options and scores of several runs."""

    runs: tuple[str, ...] = flag(
        (), "names of the runs; the others are compared with the first", affects_result=True
    )
    checkpoint_root: str = flag("checkpoints", "folder that holds the runs", affects_result=False)
    split: str = flag(
        "test", "split whose patches are compared", choices=SPLITS, affects_result=True
    )
    output_dir: str = flag(
        "",
        "folder for compare.md and compare.csv; empty: the tables are only printed",
        affects_result=False,
    )


@dataclass(frozen=True)
class StageFlagOptions:
    """Flags of the stages"""

    common_flags: str = flag("", "flags of all stages, such as --device cpu", affects_result=True)
    sam_flags: str = flag("", "flags of the stages that use SAM", affects_result=True)
    classifier_flags: str = flag(
        "",
        "flags of train_classifier.py in all rows, before those of the row itself",
        affects_result=True,
    )
    mask_flags: str = flag("", "the same for generate_initial_masks.py", affects_result=True)
    decoder_flags: str = flag("", "the same for finetune_decoder.py", affects_result=True)
    retrain_flags: str = flag("", "the same for retrain_decoder.py", affects_result=True)
    segmenter_flags: str = flag("", "the same for train_segmenter.py", affects_result=True)
    box_flags: str = flag("", "the same for train_box_decoder.py", affects_result=True)
    evaluate_flags: str = flag("", "flags of evaluate.py", affects_result=True)


@dataclass(frozen=True)
class AblateOptions(StageFlagOptions, ReplaceOptions, DataOptions):
    """Run named sets of flags over several seeds, and make tables of them."""

    rows: str = flag(
        "", "the sets of flags, one per line; ablate.sh holds the list", affects_result=True
    )
    only: tuple[str, ...] = flag(
        (),
        "names of the rows to run, or table_2 … table_6 for those of a table; empty: all",
        affects_result=True,
    )
    seeds: tuple[int, ...] = flag(
        (22, 23, 24),
        "seeds of training; all share the same patches",
        at_least=0,
        affects_result=True,
    )
    name: str = flag(
        "ablation",
        "folder under checkpoints/ for the runs, <row>/seed_<seed>, and tables/",
        affects_result=False,
    )
    checkpoint_root: str = flag(
        "checkpoints", "folder that holds SAM's weights and the runs", affects_result=False
    )
