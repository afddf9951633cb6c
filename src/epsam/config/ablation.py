"""The flags of compare.py and ablate.py; those of the stages are in epsam/options.py."""

from dataclasses import dataclass

from epsam.config.common import SPLITS, DataOptions
from epsam.config.flags import flag


@dataclass(frozen=True)
class CompareOptions:
    """Any runs side by side."""

    runs: tuple[str, ...] = flag((), "names of the runs, the first being the one to compare with")
    checkpoint_root: str = flag("checkpoints", "folder that holds the runs")
    split: str = flag("test", "split whose patches are compared", choices=SPLITS)
    output_dir: str = flag(
        "", "folder that gets compare.md and compare.csv; empty: they are only printed"
    )
    debug: bool = flag(False, "on an error, print the traceback too")


@dataclass(frozen=True)
class AblateOptions(DataOptions):
    """Named flag sets over seeds, and tables of them."""

    rows: str = flag("", "the flag sets, one a line; ablate.sh holds the list")
    only: tuple[str, ...] = flag((), "names of the rows to run; empty: all of them")
    seeds: tuple[int, ...] = flag(
        (22, 23, 24), "seeds of training; the patches are the same for all", at_least=0
    )
    name: str = flag(
        "ablation", "folder under checkpoints/ that gets the runs, <row>/seed_<seed>, and tables/"
    )
    checkpoint_root: str = flag("checkpoints", "folder that holds SAM's weights and the runs")
    common_flags: str = flag("", "flags of all stages, such as --device cpu")
    sam_flags: str = flag("", "flags of the stages that use SAM")
    classifier_flags: str = flag(
        "", "flags of train_classifier.py in all rows; a row's own follow them"
    )
    mask_flags: str = flag("", "the same for generate_initial_masks.py")
    decoder_flags: str = flag("", "the same for finetune_decoder.py")
    retrain_flags: str = flag("", "the same for retrain_decoder.py")
    evaluate_flags: str = flag("", "flags of evaluate.py")
