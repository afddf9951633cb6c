"""SAM as a backbone: what it says of its features is what they are."""

from dataclasses import replace

import torch

from epsam.segment.sam.backbone import SamBackbone
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.specs import IMAGE, PIXELS, SPECS, count_feature_bytes
from support.mini import smaller_sam


def test_features_have_the_shapes_that_backbone_and_sizes_promise():
    with smaller_sam(), torch.no_grad():
        backbone = SamBackbone(build_sam("vit_demo"))
        features = backbone.encode(torch.zeros(2, 3, 128, 128))
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in features.items()}
        assert shapes == backbone.feature_shapes() == SPECS["vit_demo"].feature_shapes()
        assert shapes == {IMAGE: (256, 16, 16)}


def test_a_decoder_that_reads_the_image_gets_it_as_a_feature(monkeypatch):
    small = replace(SPECS["vit_small"], depth=1, global_blocks=(0,), input_px=64)
    monkeypatch.setitem(SPECS, "vit_small", small)
    backbone = SamBackbone(build_sam("vit_small"))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = backbone.encode(images)
    assert torch.equal(features[PIXELS], images)
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in features.items()}
    assert shapes == backbone.feature_shapes() == small.feature_shapes()
    assert shapes == {IMAGE: (256, 8, 8), PIXELS: (3, 64, 64)}


def test_bytes_are_those_of_all_features_in_float16():
    assert count_feature_bytes({"coarse": (256, 2, 3), "fine": (8, 4, 4)}) == 2 * (1536 + 128)
