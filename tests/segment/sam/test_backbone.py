"""SAM as a backbone: what it says of its features is what they are."""

import torch

from epsam.segment.sam.backbone import SamBackbone
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.specs import IMAGE, SPECS, count_feature_bytes
from support.mini import smaller_sam


def test_features_have_the_shapes_that_backbone_and_sizes_promise():
    with smaller_sam(), torch.no_grad():
        backbone = SamBackbone(build_sam("vit_demo"))
        features = backbone.encode(torch.zeros(2, 3, 128, 128))
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in features.items()}
        assert shapes == backbone.feature_shapes() == SPECS["vit_demo"].feature_shapes()
        assert shapes == {IMAGE: (256, 16, 16)}


def test_bytes_are_those_of_all_features_in_float16():
    assert count_feature_bytes({"coarse": (256, 2, 3), "fine": (8, 4, 4)}) == 2 * (1536 + 128)
