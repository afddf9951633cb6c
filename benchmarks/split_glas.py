"""The patches of GlaS (Warwick-QU) in three splits by patient, for docs/results.md.

    python benchmarks/split_glas.py GLAS_FOLDER dataset/glas

GLAS_FOLDER holds train/ and val/ with image/ and mask/; a patch's name begins with its patient,
such as p02-train1-0_1.jpg. Validation stays as it is, and three patients of training become the
test split: 32 of its 88 positives and 24 of its 86 negatives.
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.core.files import write_table

TEST_PATIENTS = ("p05", "p06", "p11")
"""Fixed before the first run; the two of them with tumour have 36 % of training's positives."""
MPP = 0.62
COLUMNS = ("id", "split", "label", "case", "mpp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, help="folder of train/ and val/")
    parser.add_argument("target", type=Path, help="folder to make")
    options = parser.parse_args()
    if options.target.exists():
        parser.error(f"{options.target} is there already; name a new folder")

    rows = []
    for split in ("train", "val"):
        for image in sorted((options.source / split / "image").iterdir()):
            rows.append(copy_patch(image, options.target, split))
    write_table(options.target / "patches.csv", COLUMNS, rows)


def copy_patch(image: Path, target: Path, split: str) -> dict[str, object]:
    """Copy a patch and its mask, if it has one, into the split of its patient; its row."""
    patient = image.name.partition("-")[0]
    split = "test" if patient in TEST_PATIENTS else split
    name, label = image.stem.rsplit("_", 1)
    masks = image.parents[1] / "mask"
    for path in (image, *masks.glob(f"{image.stem}.*")):
        folder = target / split / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return {"id": name, "split": split, "label": label, "case": patient, "mpp": MPP}


if __name__ == "__main__":
    main()
