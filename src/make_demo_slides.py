"""The demo's slides: small pyramids of made-up H&E tissue with ASAP annotations and a split, no
network needed.
"""

import logging
from functools import partial
from pathlib import Path

from demo.annotations import coarse_annotations
from demo.options import DemoOptions
from demo.tissue import draw_tissue
from epsam.annotations.asap_writer import format_asap_xml
from epsam.config.command_line import run_stage
from epsam.core.errors import DatasetError
from epsam.core.files import write_table, write_text
from epsam.core.output_folders import claim_output_folder
from epsam.core.parallel import parallel_map
from epsam.core.seeding import generator
from epsam.wsi.writer import PyramidFormat, write_slide

log = logging.getLogger(__name__)

SHAPE = (1536, 2048)
MPP = 0.5
FORMAT = PyramidFormat(tile=256, compression="jpeg", quality=88, levels=4)
SPLITS = {
    "train": (
        "tumor_001",
        "tumor_002",
        "tumor_003",
        "tumor_004",
        "tumor_005",
        "normal_001",
        "normal_002",
    ),
    "val": ("tumor_006", "tumor_007", "normal_003"),
    "test": ("tumor_008", "tumor_009", "tumor_010", "normal_004"),
}
"""Slides of each split, named in the CAMELYON16 way."""
LARGE_TUMOURS = ("tumor_005", "tumor_007", "tumor_010")
"""One slide of each split with a tumour that windows lie wholly inside: most metastases are larger
than a window.
"""


def main(options: DemoOptions) -> None:
    """Make every slide that is not there yet."""
    root = Path(options.output_dir)
    claim_output_folder(root, "make_demo_slides")
    rows = [{"slide": name, "split": split} for split, names in SPLITS.items() for name in names]
    names = [row["slide"] for row in rows]
    if options.restart:
        _remove_slides(root, names)
    _record_seed(root, options.seed)

    missing = [name for name in names if not _is_complete(root, name)]
    task = partial(make_slide, root=root, seed=options.seed, shape=SHAPE)
    for _ in parallel_map(task, missing, options.workers, "demo slides"):
        pass

    write_table(root / "splits.csv", ("slide", "split"), rows)
    log.info("%d slides made, %d already there: %s", len(missing), len(rows) - len(missing), root)


def make_slide(name: str, root: Path, seed: int, shape: tuple[int, int]) -> None:
    """Draw one slide of `shape` (height, width); write its pyramid and its annotations, of which a
    normal slide has none.
    """
    rng = generator(seed, "demo slide", name)
    tissue = draw_tissue(rng, shape, name.startswith("tumor"), name in LARGE_TUMOURS)
    image_path, annotations_path = _slide_files(root, name)
    # The annotations come first, so a slide whose pyramid is there is complete.
    write_text(annotations_path, format_asap_xml(coarse_annotations(tissue.tumour)))
    write_slide(image_path, tissue.image, MPP, FORMAT)


def _remove_slides(root: Path, names: list[str]) -> None:
    """Remove the demo's own slides and the record of their seed, nothing else."""
    paths = [root / "seed.txt"]
    for name in names:
        paths += _slide_files(root, name)
    for path in paths:
        path.unlink(missing_ok=True)


def _record_seed(root: Path, seed: int) -> None:
    """Write the seed beside the slides. Raises DatasetError if the slides that are there have
    another seed.
    """
    path = root / "seed.txt"
    recorded = path.read_text(encoding="utf-8").strip() if path.is_file() else str(seed)
    if recorded != str(seed):
        raise DatasetError(
            f"{root}: holds the slides of seed {recorded}, seed {seed} was asked for; "
            "add --restart to make them again, or give another --output_dir"
        )
    write_text(path, f"{seed}\n")


def _slide_files(root: Path, name: str) -> tuple[Path, Path]:
    return root / "images" / f"{name}.tif", root / "annotations" / f"{name}.xml"


def _is_complete(root: Path, name: str) -> bool:
    return all(path.is_file() for path in _slide_files(root, name))


if __name__ == "__main__":
    run_stage("make_demo_slides", DemoOptions, main)
