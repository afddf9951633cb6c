"""A dataset of small slides, and what the extraction of patches left of it."""

import numpy as np
import tifffile

from epsam.config.patches import PatchOptions
from support.tables import read_rows

WIDTH, HEIGHT = 384, 320
TUMOUR = [(64, 64), (200, 64), (200, 176), (64, 176)]


def write_slide(path, mpp=0.5, size=(HEIGHT, WIDTH)):
    """Textured tissue in all but the rightmost 96 columns, which are white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(path.stem.encode())).integers(-30, 30, (*size, 3))
    image = (np.array([200, 110, 170]) + noise).astype(np.uint8)
    image[:, WIDTH - 96 :] = 250
    resolution = (
        {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": "CENTIMETER"} if mpp else {}
    )
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", metadata=None, **resolution)
    return image


def write_annotations(path, group="Tumor", corners=TUMOUR):
    path.parent.mkdir(parents=True, exist_ok=True)
    points = "".join(
        f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(corners)
    )
    path.write_text(
        f'<ASAP_Annotations><Annotations><Annotation PartOfGroup="{group}"><Coordinates>{points}'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


def make_dataset(root):
    """Three annotated slides a, b, c, each in a split of its own."""
    for name in "abc":
        write_slide(root / "images" / f"{name}.tif")
        write_annotations(root / "annotations" / f"{name}.xml")
    (root / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\n")
    return root


def options_for(root, **changes):
    return PatchOptions(
        dataset_type=root.name,
        dataset_root=str(root.parent),
        **{"patch_size": 64, "stride": 32, "workers": 1, **changes},
    )


def statuses(root):
    return {row["slide"]: (row["status"], row["reason"]) for row in read_rows(root / "slides.csv")}


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "record.json")
    }
