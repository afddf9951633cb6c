"""The demo's slides: small pyramids of made-up H&E tissue with ASAP outlines and a split, no
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
from epsam.core.parallel import parallel_map
from epsam.core.seeding import generator
from epsam.wsi.writer import PyramidFormat, write_slide

log = logging.getLogger(__name__)

SHAPE = (1536, 2048)
MPP = 0.5
FORM = PyramidFormat(tile=256, compression="jpeg", quality=88, levels=4)
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


def main(options: DemoOptions) -> None:
    """Make every slide that is not there yet."""
    root = Path(options.output_dir)
    rows = [{"slide": name, "split": split} for split, names in SPLITS.items() for name in names]
    if options.restart:
        _remove(root, [row["slide"] for row in rows])
    _claim(root, options.seed)
    missing = [row["slide"] for row in rows if not _done(root, row["slide"])]
    work = partial(make_slide, root=root, seed=options.seed, shape=SHAPE)
    for _ in parallel_map(work, missing, options.workers, "demo slides"):
        pass
    write_table(root / "splits.csv", ("slide", "split"), rows)
    log.info("%d slides made, %d already there: %s", len(missing), len(rows) - len(missing), root)


def make_slide(name: str, root: Path, seed: int, shape: tuple[int, int]) -> None:
    """Draw one slide of `shape` (height, width); write its pyramid and its outlines, of which a
    normal slide has none.

    The outlines come first, so a slide whose pyramid is there is complete.
    """
    tissue = draw_tissue(generator(seed, "demo slide", name), shape, name.startswith("tumor"))
    image, outlines = _files(root, name)
    write_text(outlines, format_asap_xml(coarse_annotations(tissue.tumour)))
    write_slide(image, tissue.image, MPP, FORM)


def _remove(root: Path, names: list[str]) -> None:
    """Remove the demo's own slides and the note of their seed, nothing else."""
    for path in [root / "seed.txt", *(path for name in names for path in _files(root, name))]:
        path.unlink(missing_ok=True)


def _claim(root: Path, seed: int) -> None:
    """Note the seed beside the slides. Raises DatasetError if those that are there came from
    another seed.
    """
    note = root / "seed.txt"
    found = note.read_text(encoding="utf-8").strip() if note.is_file() else str(seed)
    if found != str(seed):
        raise DatasetError(
            f"{root}: holds the slides of seed {found}, seed {seed} was asked for; "
            "add --restart to make them again, or give another --output_dir"
        )
    write_text(note, f"{seed}\n")


def _files(root: Path, name: str) -> tuple[Path, Path]:
    return root / "images" / f"{name}.tif", root / "annotations" / f"{name}.xml"


def _done(root: Path, name: str) -> bool:
    return all(path.is_file() for path in _files(root, name))


if __name__ == "__main__":
    run_stage("make_demo_slides", DemoOptions, main)
