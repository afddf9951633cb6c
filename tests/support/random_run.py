"""A run of random weights, for tests of inference that need no good masks."""

from pathlib import Path

import torch

from epsam.core.files import sha256_of
from epsam.segment.sam.decoder_weights import save_decoder
from epsam.segment.sam.models import build_sam
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier


def write_random_run(folder: Path, sam_file: Path) -> None:
    """A random classifier and decoder with their metadata, as of a training on 64 px patches of
    0.5 µm/px.
    """
    metadata = {
        "sam_model_type": "vit_demo",
        "sam_sha256": sha256_of(sam_file),
        "patch_size": 64,
        "mpp": 0.5,
        "n_point": 5,
        "rotations": 1,
        "quantile": 0.3,
        "open_kernel": 0,
        "open_at": "cam",
        "round": 1,
    }
    sam = build_sam("vit_demo")
    sam.load_state_dict(torch.load(sam_file, weights_only=True))
    save_decoder(folder / "decoder_iter1.pth", sam, metadata)
    network = build_classifier(NetworkSpec("resnet18", input_size=64))
    save_classifier(folder / "resnet_adl.pth", network, {})
