"""The classifier's weights: those that training starts from, and checkpoints, both this project's
and the published code's.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epsam.core.checkpoints import State, check_fit, load_plain, named_tensors, save_plain
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.seeding import seed_for
from epsam.weak.cam_classifier import CamClassifier
from epsam.weak.imagenet import find_or_download_imagenet
from epsam.weak.resnet import AdlResNet, NetworkSpec, build_classifier

LAYERS = ("layer1", "layer2", "layer3", "layer4")
_BLOCK_KEY = re.compile(r"(layer[1-4])\.(\d+)\.(.+)")


# The weights that training starts from
# ------------------------------------------------------------------------------------------


def initialise_weights(model: AdlResNet, pretrained: str, seed: int, folder: Path) -> None:
    """Set the weights that training starts from; on the CPU, random parts depend on `seed` alone.

    pretrained:
    - "imagenet": torchvision's file from `folder` or torch hub's folder, else downloaded to
      `folder`.
    - "none": Xavier-uniform convolutions, batch norm 1 and 0, fc N(0, 0.01) (published code).
    - otherwise the path of a ResNet state dict: torchvision's, or a classifier of this project or
      of the published code.

    If the network has a fourth input channel and the file has not, the kernel of that channel is
    the mean of the other three. An fc of another size stays random.

    Raises WeightsError if the weights cannot be obtained or do not fit.
    """
    _randomise(model, torch.Generator().manual_seed(seed_for(seed, "classifier weights")))
    if pretrained == "none":
        return

    path = Path(pretrained)
    if pretrained == "imagenet":
        path = find_or_download_imagenet(model.spec.backbone, folder)
    state = _renumber_blocks(named_tensors(path, load_plain(path)), model)
    if model.conv1.in_channels == 4:
        state = _add_fourth_channel(state)

    # The head of another task, such as ImageNet's 1,000 classes, is of no use: keep the random one.
    if "fc.weight" not in state or state["fc.weight"].shape != model.fc.weight.shape:
        state = dict(state)
        state["fc.weight"] = model.fc.weight.detach()
        state["fc.bias"] = model.fc.bias.detach()
    _load_state(model, path, state)


def _randomise(model: AdlResNet, random: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, generator=random)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    nn.init.normal_(model.fc.weight, std=0.01, generator=random)
    nn.init.zeros_(model.fc.bias)


def _renumber_blocks(state: State, model: AdlResNet) -> State:
    """The state with its blocks, in their order, at the model's block indices.

    The indices of torchvision have no gaps; the model's have one where an ADL stands.
    """
    model_state = model.state_dict()
    new_indices: dict[str, dict[int, int]] = {}
    for layer in LAYERS:
        sources = _block_indices(state, layer)
        targets = _block_indices(model_state, layer)
        # With another number of blocks, the indices stay; `check_fit` then refuses the weights.
        matches = len(sources) == len(targets)
        new_indices[layer] = dict(zip(sources, targets, strict=True)) if matches else {}

    renamed = {}
    for key, tensor in state.items():
        if match := _BLOCK_KEY.fullmatch(key):
            layer, index, rest = match.groups()
            key = f"{layer}.{new_indices[layer].get(int(index), index)}.{rest}"
        renamed[key] = tensor
    return renamed


def _block_indices(state: Mapping[str, Tensor], layer: str) -> list[int]:
    """The sorted indices of a layer's modules that have tensors in the state."""
    indices = set()
    for key in state:
        match = _BLOCK_KEY.fullmatch(key)
        if match and match[1] == layer:
            indices.add(int(match[2]))
    return sorted(indices)


def _add_fourth_channel(state: State) -> State:
    """The state with a fourth input channel, the mean of the other three; as it is if conv1 has no
    three.
    """
    kernel = state.get("conv1.weight")
    if kernel is None or kernel.ndim != 4 or kernel.shape[1] != 3:
        return state
    fourth = kernel.mean(dim=1, keepdim=True)
    return {**state, "conv1.weight": torch.cat([kernel, fourth], dim=1)}


# Checkpoints
# ------------------------------------------------------------------------------------------


def save_classifier(path: Path, model: CamClassifier, extra: Mapping[str, Any]) -> None:
    """Write {"model": state dict, "spec": fields of NetworkSpec, **extra}, completely or not at
    all; `extra` is plain data.
    """
    state = {}
    for key, tensor in model.state_dict().items():
        # The second head serves training alone.
        if not key.startswith("subclass_head."):
            state[key] = tensor.detach().cpu()
    save_plain(path, {**extra, "model": state, "spec": asdict(model.spec)})


def load_classifier(path: Path, device: torch.device | str) -> AdlResNet:
    """Load the classifier of a checkpoint, in evaluation mode, on `device`.

    A checkpoint without "spec" is taken for one of the published code. That means RGB in 0..1
    without mean and deviation, and a frequency mask of 2 × 2. Where ADL sits is read off the names
    of its tensors: an ADL module takes an index among the blocks, and has no tensors itself.

    Raises WeightsError if the file cannot be read, holds anything but tensors and plain data, or
    does not fit.
    """
    content = load_plain(path)
    state = named_tensors(path, content)
    try:
        spec = read_spec(content["spec"]) if "spec" in content else _published_spec(state)
        model = build_classifier(spec)
    except (TrainingError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: describes no network of this project ({error}); train the classifier again"
        ) from error
    _load_state(model, path, state)
    return model.to(device).eval()


def read_spec(spec: Mapping[str, Any]) -> NetworkSpec:
    """The network of the "spec" of a checkpoint. Raises TypeError or ValueError for another."""
    fields = dict(spec)
    return NetworkSpec(**{**fields, "adl_positions": tuple(fields.get("adl_positions", ()))})


def _published_spec(state: State) -> NetworkSpec:
    """The network that a bare state dict of the published code belongs to."""
    # An ADL has no tensors: it shows as a gap between the indices of two blocks. One after a
    # layer's last block leaves no gap and stays unknown, which changes nothing in evaluation, where
    # ADL is the identity.
    positions = []
    for layer in LAYERS:
        for block, (index, following) in enumerate(pairwise(_block_indices(state, layer))):
            if following > index + 1:
                positions.append(f"{layer[-1]}.{block}")

    stem = state.get("conv1.weight")
    has_prompt = stem is None or stem.shape[1] != 3
    return NetworkSpec(
        backbone="resnet50" if "layer1.0.conv3.weight" in state else "resnet18",
        evp_block="center2x2",
        adl_positions=tuple(positions),
        normalise=False,
        evp_fuse="concat" if has_prompt else "none",
    )


def _load_state(model: AdlResNet, path: Path, state: State) -> None:
    """Load `state` into the model. Raises WeightsError if it does not fit."""
    # Batch norm's counters play no part in its result and are missing in old files.
    expected = _without_counters(model.state_dict())
    weights = _without_counters(state)
    check_fit(path, model.spec.backbone, weights, expected)
    model.load_state_dict(weights, strict=False)


def _without_counters(state: Mapping[str, Tensor]) -> State:
    return {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}
