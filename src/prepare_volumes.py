"""NIfTI volumes with labels → a data set of slices: BraTS 2019, AbdomenCT-1K, MSD Heart.

python src/prepare_volumes.py --source MICCAI_BraTS_2019 --dataset_type brats
"""

import logging
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.common import SPLITS
from epsam.config.volumes import VolumeOptions
from epsam.core.errors import DatasetError
from epsam.core.output_folders import check_output_folder, mark_output_folder
from epsam.volumes.layouts import list_cases, select_layout
from epsam.volumes.slices import write_slices
from epsam.volumes.splits import draw_splits, read_case_splits

NAME = "prepare_volumes"

log = logging.getLogger(__name__)


def main(options: VolumeOptions) -> None:
    """Find the cases, split them, and write their slices."""
    if not options.source:
        raise DatasetError("--source: no folder named; give that of the unpacked volumes")
    source, target = Path(options.source), Path(options.dataset_root) / options.dataset_type
    check_output_folder(target, NAME, [source], flag="--dataset_type")
    layout = select_layout(options.layout, options.organ)
    cases = list_cases(layout, source)
    names = [files.case for files in cases]
    if options.splits:
        splits = read_case_splits(Path(options.splits), names)
    else:
        splits = draw_splits(names, options.val, options.test, options.seed)

    mark_output_folder(target, NAME)
    counts = write_slices(cases, layout, splits, target, options.size, options.every)
    for split in SPLITS:
        log.info(
            "%s: %d cases, %d slices with the target, %d without",
            split,
            list(splits.values()).count(split),
            counts[split, 1],
            counts[split, 0],
        )


if __name__ == "__main__":
    run_stage(NAME, VolumeOptions, main)
