"""The classifier with attention-based dropout as a weak model (paper 3.2.1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.weak.fast_inference import load_for_inference
from epsam.weak.resnet import AdlResNet, NetworkSpec, build_classifier
from epsam.weak.weights import initialise_weights, save_classifier


def build(options: ClassifierOptions) -> AdlResNet:
    """The network with the weights of --pretrained. Raises WeightsError without them."""
    model = build_classifier(NetworkSpec.of(options))
    initialise_weights(model, options.pretrained, options.seed, Path(options.checkpoint_root))
    if options.subclasses:
        model.add_subclass_head(options.subclasses, options.subclass_weight, options.seed)
    return model


def save(path: Path, model: AdlResNet, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    save_classifier(path, model, extra)


def load(path: Path, device_config: DeviceConfig) -> AdlResNet:
    """The network of a checkpoint, this project's or the published code's, in its fastest form."""
    return load_for_inference(path, device_config)
