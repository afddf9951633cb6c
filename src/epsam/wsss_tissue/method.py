"""The classifier of WSSS-Tissue as a row of `methods.WEAK_MODELS`: build, save, load."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from epsam.config.classifier import ClassifierOptions
from epsam.core.checkpoints import check_fit, load_network, load_plain, named_tensors, save_network
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.seeding import seed_for
from epsam.weak.imagenet import find_or_download_imagenet
from epsam.wsss_tissue.classifier import TissueClassifier, TissueSpec
from epsam.wsss_tissue.trunks import RESNET38

SPEC_KEY = "wsss_tissue"
"""Key of a checkpoint: the fields of `TissueSpec`."""
HEADS = ("fc.", "fc8.", "linear1000.")
"""How keys of a classifier begin that ImageNet's weights have beside the trunk's."""


def build(options: ClassifierOptions) -> TissueClassifier:
    """The classifier with the trunk's weights of --pretrained; what is random depends on the seed
    alone.

    Raises WeightsError if they cannot be obtained or do not fit, TrainingError for a trunk that is
    not there.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(options.seed, "wsss_tissue weights"))
        spec = TissueSpec(options.backbone, options.input_size, options.tissue_labels)
        model = TissueClassifier(spec)
    if options.pretrained != "none":
        _load_trunk(model, options)
    return model


def save(path: Path, model: TissueClassifier, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    save_network(path, model, {**extra, SPEC_KEY: asdict(model.tissue_spec)})


def load(path: Path, device_config: DeviceConfig) -> TissueClassifier:
    """The classifier of a checkpoint. Raises WeightsError if it does not fit."""
    model = TissueClassifier(read_tissue_spec(path, load_plain(path)))
    load_network(path, model)
    return model.to(device_config.device).eval()


def read_tissue_spec(path: Path, content: Mapping[str, Any]) -> TissueSpec:
    """The classifier that a checkpoint's content describes. Raises WeightsError for none."""
    try:
        return TissueSpec(**content[SPEC_KEY])
    except (LookupError, TypeError) as error:
        raise WeightsError(
            f"{path}: describes no classifier of wsss_tissue ({error!r}); train it again"
        ) from error


def _load_trunk(model: TissueClassifier, options: ClassifierOptions) -> None:
    trunk = options.backbone
    path = Path(options.pretrained)
    if options.pretrained == "imagenet":
        if trunk == RESNET38:
            raise WeightsError(
                f"--backbone {trunk}: its ImageNet weights are an MXNet file; convert it and give "
                "the .pth by --pretrained, or take --backbone resnet50"
            )
        path = find_or_download_imagenet(trunk, Path(options.checkpoint_root))

    state = {}
    for key, tensor in named_tensors(path, load_plain(path)).items():
        if not key.startswith(HEADS):
            state[key] = tensor
    expected = model.trunk.state_dict()
    for key, tensor in expected.items():
        # Batch norm's counters play no part in its result and are missing in old files.
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, tensor)
    check_fit(path, trunk, state, expected)
    model.trunk.load_state_dict(state)
