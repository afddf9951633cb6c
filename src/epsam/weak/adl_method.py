"""The classifier with attention-based dropout as a weak model (paper 3.2.1), or without it on an
encoder of timm.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epsam.config.classifier import TIMM, ClassifierOptions
from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig
from epsam.weak.cam_classifier import CamClassifier
from epsam.weak.fast_inference import load_for_inference
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.timm_classifier import build_timm, load_timm
from epsam.weak.weights import initialise_weights, save_classifier


def build(options: ClassifierOptions) -> CamClassifier:
    """The network with the weights of --pretrained. Raises WeightsError without them."""
    if options.backbone.startswith(TIMM):
        return build_timm(options)
    model = build_classifier(NetworkSpec.of(options))
    initialise_weights(model, options.pretrained, options.seed, Path(options.checkpoint_root))
    if options.subclasses:
        model.add_subclass_head(options.subclasses, options.subclass_weight, options.seed)
    return model


def save(path: Path, model: CamClassifier, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    save_classifier(path, model, extra)


def load(path: Path, device_config: DeviceConfig) -> CamClassifier:
    """The network of a checkpoint, this project's or the published code's, in its fastest form."""
    spec = load_plain(path).get("spec")
    if isinstance(spec, dict) and str(spec.get("backbone")).startswith(TIMM):
        return load_timm(path, spec, device_config)
    return load_for_inference(path, device_config)
