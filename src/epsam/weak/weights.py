"""The classifier's weights: what training starts from, and checkpoints, both ours and those of the
published code.
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
from epsam.core.downloads import download
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.seeding import seed_for
from epsam.weak.resnet import AdlResNet, NetworkSpec, build_classifier

# torchvision's IMAGENET1K_V1: what `pretrained=True` of the published code means, though it is
# ignored there (D15).
IMAGENET_SITE = "https://download.pytorch.org/models/"
IMAGENET_FILES = {"resnet50": "resnet50-0676ba61.pth", "resnet18": "resnet18-f37072fd.pth"}
LAYERS = ("layer1", "layer2", "layer3", "layer4")
_BLOCK = re.compile(r"(layer[1-4])\.(\d+)\.(.+)")


# What training starts from
# ------------------------------------------------------------------------------------------


def initialise_weights(model: AdlResNet, pretrained: str, seed: int, folder: Path) -> None:
    """Set the weights that training starts from; on the CPU, random parts depend on `seed` alone.

    pretrained: "imagenet": torchvision's file, looked for in `folder`, then in torch hub's folder,
    else downloaded
        to the former. "none": Xavier-uniform convolutions, batch norm 1 and 0, fc N(0, 0.01)
        (published code).
        Otherwise the path of a ResNet state dict, torchvision's or a classifier of ours or of the
        published code.
    Where the network has a fourth channel and the file has not, its kernel becomes the mean of the
    other three; an fc of another size stays random.

    Raises WeightsError if the weights cannot be had or do not fit.
    """
    _randomise(model, torch.Generator().manual_seed(seed_for(seed, "classifier weights")))
    if pretrained == "none":
        return
    path = _fetched(model.spec.backbone, folder) if pretrained == "imagenet" else Path(pretrained)
    state = _renumbered(named_tensors(path, load_plain(path)), model)
    if model.conv1.in_channels == 4:
        state = _inflated(state)
    if "fc.weight" not in state or state["fc.weight"].shape != model.fc.weight.shape:
        state = {**state, "fc.weight": model.fc.weight.detach(), "fc.bias": model.fc.bias.detach()}
    _fill(model, path, state)


def _randomise(model: AdlResNet, source: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, generator=source)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    nn.init.normal_(model.fc.weight, std=0.01, generator=source)
    nn.init.zeros_(model.fc.bias)


def find_imagenet_file(backbone: str, folder: Path) -> Path | None:
    """ImageNet's weights in `folder` or in torch hub's folder, or None."""
    name = IMAGENET_FILES[backbone]
    hub: Any = torch.hub  # its functions carry no types in older versions
    places = (folder / name, Path(hub.get_dir()) / "checkpoints" / name)
    return next((path for path in places if path.is_file()), None)


def _fetched(backbone: str, folder: Path) -> Path:
    name = IMAGENET_FILES[backbone]
    found = find_imagenet_file(backbone, folder)
    if found:
        return found
    hash_start = name.removesuffix(".pth").rpartition("-")[2]
    download(IMAGENET_SITE + name, hash_start, folder / name, hint=", or use --pretrained none")
    return folder / name


def _renumbered(state: State, model: AdlResNet) -> State:
    """The state with its blocks, in their order, at the model's indices: torchvision's have no gaps
    for ADL.
    """
    places: dict[str, dict[int, int]] = {}
    for layer in LAYERS:
        theirs, ours = _block_indices(state, layer), _block_indices(model.state_dict(), layer)
        # Another number of blocks keeps its indices here, and is refused when the weights are
        # checked.
        places[layer] = dict(zip(theirs, ours, strict=True)) if len(theirs) == len(ours) else {}
    renamed = {}
    for key, tensor in state.items():
        if match := _BLOCK.fullmatch(key):
            layer, index, rest = match.groups()
            key = f"{layer}.{places[layer].get(int(index), index)}.{rest}"
        renamed[key] = tensor
    return renamed


def _block_indices(state: Mapping[str, Tensor], layer: str) -> list[int]:
    matches = [_BLOCK.fullmatch(key) for key in state]
    return sorted({int(match[2]) for match in matches if match and match[1] == layer})


def _inflated(state: State) -> State:
    """The state with a conv1 of three channels given a fourth, their mean."""
    kernel = state.get("conv1.weight")
    if kernel is None or kernel.ndim != 4 or kernel.shape[1] != 3:
        return state
    return {**state, "conv1.weight": torch.cat([kernel, kernel.mean(dim=1, keepdim=True)], dim=1)}


# Checkpoints
# --------------------------------------------------------------------------------------------------------


def save_classifier(path: Path, model: AdlResNet, extra: Mapping[str, Any]) -> None:
    """Write {"model": state dict, "spec": the network's numbers, **extra}, whole or not at all;
    extra is plain data.
    """
    state = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    save_plain(path, {**extra, "model": state, "spec": asdict(model.spec)})


def load_classifier(path: Path, device: torch.device | str) -> AdlResNet:
    """The classifier of a checkpoint, in evaluation mode on `device`.

    A checkpoint without our "spec" is taken for one of the published code: RGB in [0, 1] without
    mean and deviation, the 2 × 2 frequency square, ADL positions read off the gaps between block
    indices.

    Raises WeightsError if the file cannot be read, holds anything but tensors and plain data, or
    does not fit.
    """
    content = load_plain(path)
    state = named_tensors(path, content)
    try:
        model = build_classifier(_spec_of(content) if "spec" in content else _published_spec(state))
    except (TrainingError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: describes no network of ours ({error}); train the classifier again"
        ) from error
    _fill(model, path, state)
    return model.to(device).eval()


def _spec_of(content: Mapping[str, Any]) -> NetworkSpec:
    numbers = dict(content["spec"])
    return NetworkSpec(**{**numbers, "adl_positions": tuple(numbers.get("adl_positions", ()))})


def _published_spec(state: State) -> NetworkSpec:
    """What a bare state dict says of its network. An ADL after a layer's last block leaves no gap:
    not seen, and as the identity not missed in evaluation.
    """
    positions = []
    for layer in LAYERS:
        neighbours = pairwise(_block_indices(state, layer))
        positions += [
            f"{layer[-1]}.{block}"
            for block, (index, following) in enumerate(neighbours)
            if following > index + 1
        ]
    backbone = "resnet50" if "layer1.0.conv3.weight" in state else "resnet18"
    stem = state.get("conv1.weight")
    fuse = "none" if stem is not None and stem.shape[1] == 3 else "concat"
    return NetworkSpec(
        backbone,
        evp_block="center2x2",
        adl_positions=tuple(positions),
        normalise=False,
        evp_fuse=fuse,
    )


def _fill(model: AdlResNet, path: Path, state: State) -> None:
    """Load `state`, which must fit; counters of batches may be missing, as in old files."""
    wanted = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    given = {
        key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")
    }
    check_fit(path, model.spec.backbone, given, wanted)
    model.load_state_dict(given, strict=False)
