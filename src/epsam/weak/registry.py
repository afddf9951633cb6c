"""Weak models by their name in `methods.WEAK_MODELS`: build, save, and load whichever it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epsam.config.classifier import ClassifierOptions
from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig
from epsam.methods import WEAK_MODELS, load_module
from epsam.weak.protocol import WeakMethod

NAME_KEY = "weak_model"
"""Key of a checkpoint: the name of its weak model."""
DEFAULT = "adl_resnet"
"""The weak model of a checkpoint without a name, such as one of the published code."""


def build_weak_model(options: ClassifierOptions) -> Any:
    """The untrained `WeakModel` of --weak_model."""
    return _method(options.weak_model).build(options)


def save_weak_model(path: Path, name: str, model: Any, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint from which `load_weak_model` loads."""
    # Checkpoints of the default look as they did before there were others.
    if name != DEFAULT:
        extra = {**extra, NAME_KEY: name}
    _method(name).save(path, model, extra)


def load_weak_model(path: Path, device_config: DeviceConfig) -> Any:
    """The trained `WeakModel` of a checkpoint, whichever it is.

    Raises WeightsError if the file cannot be read or does not fit, EpsamError if its weak model is
    not known here.
    """
    content = load_plain(path)
    name = str(content.get(NAME_KEY, DEFAULT))
    return _method(name).load(path, device_config)


def _method(name: str) -> WeakMethod:
    method: WeakMethod = load_module(WEAK_MODELS, "--weak_model", name)
    return method
