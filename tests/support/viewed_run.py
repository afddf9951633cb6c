"""A run's folder with two patches a split, as training leaves it, without the training."""

import numpy as np

from epsam.core.files import sha256_of, write_json
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.images import write_mask, write_probability, write_rgb
from epsam.paths import RunPaths
from epsam.training.round_data import CORRECTED

SIDE = 64
TRUTH = np.zeros((SIDE, SIDE), bool)
TRUTH[8:40, 8:40] = True
INITIAL = np.zeros((SIDE, SIDE), bool)
INITIAL[8:40, 8:24] = True


def write_run(root):
    """root/dataset/mine/ and root/runs/mine/ of patches a_1, b_1 and c_0 in each split; returns the
    run's folder.
    """
    run = RunPaths(root / "runs" / "mine")
    run.root.mkdir(parents=True)
    run.classifier.write_bytes(b"no weights")
    data = {"dataset_type": "mine", "dataset_root": str(root / "dataset"), "seed": 1}
    write_json(run.options, {"train_classifier": data, "decoder_0": {**data, "n_point": 5}})

    for split in ("train", "val", "test"):
        folder = root / "dataset" / "mine" / split
        for name in ("a_1", "b_1", "c_0"):
            pixels = np.random.default_rng(sum(name.encode())).integers(100, 200, (SIDE, SIDE, 3))
            write_rgb(make(folder / "image" / f"{name}.png"), pixels.astype(np.uint8))
        for name in ("a_1", "b_1"):
            write_mask(make(folder / "mask" / f"{name}.png"), TRUTH)
            write_mask(make(run.initial_masks(split) / f"{name}.png"), INITIAL)
        cam = np.zeros((8, 8), np.float32)
        cam[1:5, 1:3] = 1
        cams = CamStore(sha256_of(run.classifier), {"a_1": cam, "b_1": cam}, {"a_1": 0.9, "b_1": 1})
        make(run.cams(split))
        save_cams(run.cams(split), cams)

    write_mask(make(run.pseudo_masks(0) / "a_1.png"), TRUTH)
    run.pseudo_labels.write_text(
        "round,id,points,ids,area_ratio,accepted,dice\n"
        "0,a_1,5,0.95,2.0,1,1.0\n0,b_1,5,0.40,2.0,0,0.5\n"
    )
    run.patch_scores.write_text(
        "split,what,id,dice,iou\n"
        "train,fill,a_1,0.4,0.25\ntrain,initial mask,a_1,0.666667,0.5\n"
        "train,preliminary decoder,a_1,0.8,0.6\ntrain,preliminary decoder,b_1,0.7,0.5\n"
        "test,preliminary decoder,a_1,0.3,0.2\n"
    )
    run.classifier_scores.write_text(
        "split,id,label,probability\ntrain,a_1,1,0.5\ntrain,b_1,1,1\ntrain,c_0,0,0\n"
    )
    return run.root


def write_corrected(folder):
    """Corrections of train's a_1, and a patch of a corrected slide outside of the dataset, in a
    run's folder: all reviewed, with tumour in its upper half.
    """
    run = RunPaths(folder)
    target = np.full((SIDE, SIDE), 128 / 255)
    target[: SIDE // 2] = 1
    write_probability(make(run.corrections / "a_1.png"), target)
    name = "new_x0_y0_1"
    write_probability(make(run.corrected_slides / "target" / f"{name}.png"), target)
    pixels = np.random.default_rng(7).integers(100, 200, (SIDE, SIDE, 3)).astype(np.uint8)
    write_rgb(make(run.corrected_slides / "image" / f"{name}.png"), pixels)
    write_mask(make(run.initial_masks(CORRECTED) / f"{name}.png"), INITIAL)
    cams = CamStore(sha256_of(run.classifier), {name: np.ones((8, 8), np.float32)}, {name: 0.8})
    save_cams(run.cams(CORRECTED), cams)


def make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
