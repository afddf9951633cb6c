"""The sub-classes of a run's training patches, and their table."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError
from epsam.core.files import write_table
from epsam.core.progress import track
from epsam.data.batches import load_batches
from epsam.data.patches import Patch, select_positives
from epsam.tables import SUBCLASS_COLUMNS
from epsam.training.classifier import scale_images
from epsam.weak.registry import load_weak_model
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.subclasses import cluster, require_enough
from epsam.weak.weights import initialise_weights

log = logging.getLogger(__name__)


def find_subclasses(
    model: Any,
    patches: Sequence[Patch],
    size: int,
    options: ClassifierOptions,
    device_config: DeviceConfig,
) -> dict[str, int]:
    """The sub-class of each patch with tumour, by name; empty without --subclasses.

    model: the network as training starts. Raises TrainingError if it has no head for sub-classes,
    or if there are fewer patches than sub-classes.
    """
    if not options.subclasses:
        return {}
    if getattr(model, "subclass_head", None) is None:
        raise TrainingError(
            f"--subclasses {options.subclasses}: {type(model).__name__} has no head for "
            "sub-classes; leave it out, or take another --weak_model"
        )
    # Sorted, so that batches, and with them the rounding, do not depend on the order of files.
    positives = sorted(select_positives(patches), key=lambda patch: patch.name)
    # Before the network has looked at any of them.
    require_enough(len(positives), options.subclasses)
    network = _feature_network(model, options, device_config)
    features = compute_features(network, positives, size, options.batch_size, device_config)
    names = [patch.name for patch in positives]
    subclasses = cluster(names, features, options.subclasses, options.seed)

    sizes = np.bincount(list(subclasses.values()), minlength=options.subclasses + 1)[1:]
    log.info("sub-classes: %d, of %s patches", options.subclasses, ", ".join(map(str, sizes)))
    return subclasses


@torch.no_grad()
def compute_features(
    network: Any,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
) -> npt.NDArray[np.float32]:
    """The network's pooled features (patches, C) of un-augmented patches."""
    network.eval()
    features = []
    batches = load_batches(patches, size, batch_size, workers=0)
    for batch in track(batches, "features", -(-len(patches) // batch_size), unit="batch"):
        with device_config.autocast():
            pooled = network.pooled_features(scale_images(batch, device_config))
        features.append(pooled.float().cpu().numpy())
    return np.concatenate(features)


def write_subclasses(path: Path, subclasses: Mapping[str, int]) -> None:
    """Write the table of sub-classes, a row for each patch with tumour, by name; without any, there
    is no table.
    """
    if not subclasses:
        path.unlink(missing_ok=True)
        return
    rows = [{"id": name, "subclass": subclasses[name]} for name in sorted(subclasses)]
    write_table(path, SUBCLASS_COLUMNS, rows)


def _feature_network(model: Any, options: ClassifierOptions, device_config: DeviceConfig) -> Any:
    """The network of --subclass_features, with the method `pooled_features`."""
    if options.subclass_features == "start":
        return model
    if options.subclass_features == "imagenet":
        spec = NetworkSpec("resnet18", adl_positions=(), evp_fuse="none", cam="gradcam")
        network = build_classifier(spec)
        initialise_weights(network, "imagenet", options.seed, Path(options.checkpoint_root))
        return network.to(device_config.device)
    loaded = load_weak_model(Path(options.subclass_features), device_config)
    if not hasattr(loaded, "pooled_features"):
        raise TrainingError(
            f"--subclass_features {options.subclass_features}: {type(loaded).__name__} gives no "
            "features; give the checkpoint of an adl_resnet or sam_encoder"
        )
    return loaded
