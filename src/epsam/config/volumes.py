"""Flags of prepare_volumes.py: which volumes, and how they become a data set of slices."""

from dataclasses import dataclass

from epsam.config.common import DebugOptions
from epsam.config.flags import flag, fraction

LAYOUTS = ("brats2019", "abdomenct1k", "msd_heart")
"""The layouts of folders that prepare_volumes.py reads."""
ORGANS = ("liver", "kidney", "spleen", "pancreas")
"""Labels 1 to 4 of AbdomenCT-1K."""


@dataclass(frozen=True)
class VolumeOptions(DebugOptions):
    """NIfTI volumes with labels as a data set of grey slices, in dataset/<name>/."""

    source: str = flag("", "folder of the volumes, as they were unpacked", affects_result=True)
    layout: str = flag(
        "brats2019",
        "layout of that folder: BraTS 2019 (FLAIR, whole tumour), AbdomenCT-1K (one organ), or "
        "MSD Task02 Heart (left atrium)",
        choices=LAYOUTS,
        affects_result=True,
    )
    organ: str = flag(
        "liver", "organ of AbdomenCT-1K that is the target", choices=ORGANS, affects_result=True
    )
    dataset_type: str = flag(
        "volumes", "name of the data set, a folder of dataset/", affects_result=True
    )
    dataset_root: str = flag("dataset", "folder that holds the datasets", affects_result=False)
    splits: str = flag(
        "", "table with the columns case and split; empty: the cases are drawn", affects_result=True
    )
    val: float = fraction(0.1, "fraction of the cases for validation", affects_result=True)
    test: float = fraction(0.1, "fraction of the cases for test", affects_result=True)
    size: int = flag(
        256,
        "side of the slices, px; they are padded to squares first",
        source="WeakMedSAM",
        at_least=16,
        affects_result=True,
    )
    every: int = flag(1, "take every n-th axial slice of a volume", at_least=1, affects_result=True)
    seed: int = flag(22, "seed by which cases are drawn", at_least=0, affects_result=True)
