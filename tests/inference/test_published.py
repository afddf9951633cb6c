"""Inference with both checkpoints as the published code writes them: bare state dicts that tell no
settings.
"""

import numpy as np
import pytest
import torch

import infer
from epsam.config.command_line import parse
from epsam.config.inference import InferOptions
from epsam.core.device import DeviceConfig
from epsam.core.files import read_json, read_table
from epsam.data.images import read_mask, write_mask, write_rgb
from epsam.inference.loading import load_pipeline
from epsam.segment.sam.models import build_sam
from epsam.weak.resnet import NetworkSpec, build_classifier
from support.mini import write_random_sam

PUBLISHED = NetworkSpec(
    "resnet50", evp_block="center2x2", adl_positions=("3.0", "4.0"), normalise=False
)


@pytest.fixture
def flags(tmp_path):
    """Flags that name the published files and one patch of 512 px with its ground truth."""
    torch.manual_seed(0)
    classifier, sam = build_classifier(PUBLISHED), build_sam("vit_demo")
    classifier.fc.weight.data.abs_()
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    torch.save(
        {
            name: value
            for name, value in sam.state_dict().items()
            if name.startswith("mask_decoder.")
        },
        tmp_path / "decoder.pth",
    )
    write_random_sam(tmp_path / "sam.pth")
    image = np.random.default_rng(0).integers(120, 250, (512, 512, 3)).astype(np.uint8)
    image[100:300, 100:300] //= 2
    write_rgb(tmp_path / "in" / "image" / "x_1.png", image)
    write_mask(tmp_path / "in" / "mask" / "x_1.png", image[..., 0] < 125)
    return [
        "--dataset_type",
        "camelyon16",
        "--checkpoint_root",
        str(tmp_path / "runs"),
        "--device",
        "cpu",
        "--resnet_checkpoint",
        str(tmp_path / "classifier.pth"),
        "--n_point",
        "5",
        "--sam_decoder_checkpoint",
        str(tmp_path / "decoder.pth"),
        "--sam_model_type",
        "vit_demo",
        "--sam_checkpoint",
        str(tmp_path / "sam.pth"),
        "--test_dataset_dir",
        str(tmp_path / "in"),
        "--output_dir",
        str(tmp_path / "out"),
    ]


@pytest.mark.slow
@pytest.mark.long
def test_inference_with_published_checkpoints_runs_to_the_end(flags, tmp_path):
    infer.main(parse("infer", InferOptions, flags))
    assert read_mask(tmp_path / "out" / "mask" / "x_1.png").shape == (512, 512)
    (row,) = read_table(tmp_path / "out" / "metrics.csv", ("image", "status", "dice"))
    assert (row["image"], row["status"]) == ("x_1.png", "done")
    assert 0 <= float(row["dice"]) <= 1
    assert read_json(tmp_path / "out" / "summary.json")["scored"] == 1


def test_settings_that_the_files_do_not_hold_are_the_published_ones(flags, tmp_path):
    pipeline = load_pipeline(
        parse("infer", InferOptions, flags), DeviceConfig(torch.device("cpu"), None)
    )
    assert pipeline._tile_maps.weak_model.spec == PUBLISHED
    assert pipeline._segmenter.frame.patch_size == 512
    masks = pipeline._options.masks
    # docs/deviations.md, "Threshold and opening": a tenth of the 512 px map, opened by 21 px in
    # the image's frame.
    assert (masks.quantile, masks.open_kernel, masks.open_at) == (0.1, 21, "image")
    published = torch.load(tmp_path / "decoder.pth", weights_only=True)
    loaded = pipeline._segmenter.sam.mask_decoder.state_dict()
    assert all(
        torch.equal(loaded[name.removeprefix("mask_decoder.")], value)
        for name, value in published.items()
    )
