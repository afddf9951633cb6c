"""Grey images of one channel go through all stages of EP-SAM and of WeakMedSAM, and inference."""

import csv
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest

import prepare_volumes
from epsam.config.command_line import parse
from epsam.config.volumes import VolumeOptions
from epsam.core.files import write_bytes
from epsam.data.images import encode_grey_png, read_mask, read_rgb
from epsam.pipeline import STAGES, recipe_stages
from support.mini import FLAGS, SIDE, write_random_sam
from support.training_stages import DATASET, SAM, working_in

nibabel = pytest.importorskip("nibabel")

SLICES = 6
TEST_CASES, TRAIN_CASES = 1, 4
MAP_SAM = "--map_sam vit_demo --map_sam_checkpoint random_sam.pth"
FIT = "--workers 0 --batch_size 4 --lr 1e-3 --epoch 2"
STAGE_FLAGS = {
    "ep_sam": {
        "train_classifier": FLAGS["CLASSIFIER_FLAGS"],
        "generate_initial_masks": FLAGS["MASK_FLAGS"],
        "finetune_decoder": FLAGS["DECODER_FLAGS"],
        "retrain_decoder": FLAGS["RETRAIN_FLAGS"],
    },
    "weakmedsam": {
        "train_classifier": f"{FIT} {MAP_SAM} --input_size 64 --subclasses 2",
        "generate_initial_masks": f"{MAP_SAM} --pam_grid 2 --allow_degenerate",
        "train_segmenter": f"{FIT} --pretrained none --encoder resnet18 --allow_degenerate",
    },
}
LAST = {"ep_sam": "round 2", "weakmedsam": "unet"}
WITH_SAM = ("finetune_decoder", "retrain_decoder", "evaluate", "infer")

# Two whole runs.
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


def write_grey_dataset() -> None:
    """The slices of such volumes, in the working directory, as images of one channel, 8 bits."""
    write_volumes(Path("volumes"))
    prepare_volumes.main(VolumeOptions(source="volumes", dataset_type="mini", size=SIDE))
    for path in Path("dataset/mini").glob("*/image/*.png"):
        rgb = read_rgb(path)
        write_bytes(path, encode_grey_png(np.ascontiguousarray(rgb[..., 0])))
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (SIDE, SIDE)
        # One grey in three channels, as of the file before.
        assert np.array_equal(read_rgb(path), rgb)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grey")
    with working_in(folder):
        write_grey_dataset()
        write_random_sam(Path("random_sam.pth"))
    return folder


def run_stage(name: str, method: str, *flags: str) -> None:
    """One stage of a method, as train.sh and infer.sh run it."""
    words = list(DATASET[:2])
    if name != "extract_patches":
        words += ["--run", method]
    if name not in ("extract_patches", "report"):
        words += ["--recipe", method, *DATASET[2:]]
    if name in WITH_SAM:
        words += SAM
    words += [*STAGE_FLAGS[method].get(name, "").split(), *flags]
    import_module(name).main(parse(name, STAGES[name].load_options_class(), words))


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("method", LAST)
def test_grey_slices_of_volumes_are_trained_on_scored_and_segmented(folder, method):
    with working_in(folder):
        for stage in recipe_stages(method):
            run_stage(stage.name, method)
        run_stage("infer", method, "--output_dir", f"out/{method}")

    rows = read_rows(folder / "checkpoints" / method / "evaluation.csv")
    of_last = {row["split"]: row for row in rows if row["what"] == LAST[method]}
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

    output = folder / "out" / method
    results = read_rows(output / "metrics.csv")
    assert [row["status"] for row in results] == ["done"] * TEST_CASES * SLICES
    masks = [read_mask(path) for path in sorted((output / "mask").glob("*.png"))]
    assert [mask.shape for mask in masks] == [(SIDE, SIDE)] * len(results)
