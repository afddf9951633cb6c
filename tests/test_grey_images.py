"""Grey images of one channel go through train.sh and infer.sh, by EP-SAM and by WeakMedSAM."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

import prepare_volumes
from epsam.config.volumes import VolumeOptions
from epsam.core.files import write_bytes
from epsam.data.images import encode_grey_png, read_mask, read_rgb
from support.mini import SIDE, clone, run

nibabel = pytest.importorskip("nibabel")

SLICES = 6
TEST_CASES, TRAIN_CASES = 1, 4
FIT = "--workers 0 --batch_size 4 --lr 1e-3"
WEAKMEDSAM = {
    "METHOD": "weakmedsam",
    "CLASSIFIER_FLAGS": f"{FIT} --epoch 2 --input_size 64 --subclasses 2",
    "MASK_FLAGS": "--pam_grid 2 --allow_degenerate",
    "SEGMENTER_FLAGS": f"{FIT} --pretrained none --encoder resnet18 --epoch 2 --allow_degenerate",
}

# Two whole runs: some minutes of a core.
pytestmark = [pytest.mark.slow, pytest.mark.long]


def write_volumes(source: Path) -> None:
    """Volumes in BraTS's layout: a bright disc in the upper half of the slices of each case."""
    rng = np.random.default_rng(0)
    x, y, z = np.mgrid[:SIDE, :SIDE, :SLICES]
    for number in range(TRAIN_CASES + 2 * TEST_CASES):
        voxels = rng.normal(100, 10, x.shape)
        centre = rng.uniform(22, 42, 2)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 14**2
        target = disc & (z >= SLICES // 2)
        voxels[target] = rng.normal(200, 10, int(target.sum()))
        folder = source / "HGG" / f"case{number}"
        folder.mkdir(parents=True)
        for name, values in (("flair", voxels), ("seg", target)):
            image = nibabel.Nifti1Image(values.astype(np.float32), np.eye(4))
            nibabel.save(image, folder / f"case{number}_{name}.nii.gz")


def write_grey_dataset(folder: Path) -> None:
    """The slices of such volumes as a data set of images of one channel, 8 bits."""
    source = folder.parents[1] / "volumes"
    write_volumes(source)
    prepare_volumes.main(
        VolumeOptions(
            source=str(source),
            dataset_type=folder.name,
            dataset_root=str(folder.parent),
            size=SIDE,
        )
    )
    for path in folder.glob("*/image/*.png"):
        rgb = read_rgb(path)
        write_bytes(path, encode_grey_png(np.ascontiguousarray(rgb[..., 0])))
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (SIDE, SIDE)
        # One grey in three channels, as of the file before.
        assert np.array_equal(read_rgb(path), rgb)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("flags", "name", "last"),
    [({}, "mini", "round 2"), (WEAKMEDSAM, "mini-weakmedsam", "unet")],
    ids=["ep_sam", "weakmedsam"],
)
def test_grey_slices_of_volumes_are_trained_on_scored_and_segmented(tmp_path, flags, name, last):
    folder = clone(tmp_path, write_grey_dataset)
    trained = run(folder, "./train.sh", **flags)
    assert trained.returncode == 0, trained.stdout + trained.stderr

    rows = read_rows(folder / "checkpoints" / name / "evaluation.csv")
    of_last = {row["split"]: row for row in rows if row["what"] == last}
    assert of_last.keys() == {"train", "val", "test"}
    for split, row in of_last.items():
        n_cases = TRAIN_CASES if split == "train" else TEST_CASES
        assert int(row["cases"]) == n_cases
        # Half of the slices hold no target; those of them without a mark have no score.
        n_slices = n_cases * SLICES
        assert int(row["images"]) + int(row["both_empty"]) == n_slices
        assert (row["patches"], row["negatives"]) == (str(n_slices // 2), str(n_slices // 2))
        for column in ("dice", "jaccard", "image_dice", "case_dice", "case_jaccard", "auroc"):
            assert 0 <= float(row[column]) <= 1

    inferred = run(folder, "./infer.sh", **flags)
    assert inferred.returncode == 0, inferred.stdout + inferred.stderr
    output = folder / "infer_output" / name
    results = read_rows(output / "metrics.csv")
    assert [row["status"] for row in results] == ["done"] * TEST_CASES * SLICES
    masks = [read_mask(path) for path in sorted((output / "mask").glob("*.png"))]
    assert [mask.shape for mask in masks] == [(SIDE, SIDE)] * len(results)
