"""The classifier as a folder that WSInfer and its extension of QuPath take: TorchScript and a
description by the schema of wsinfer-zoo.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import whole_file, write_json
from epsam.weak.frequency import remove_frequencies, select_low_frequencies
from epsam.weak.registry import DEFAULT, NAME_KEY, load_weak_model
from epsam.weak.resnet import AdlResNet, NetworkSpec
from epsam.weak.weights import load_classifier

SPEC_VERSION = "1.0"
"""Version of wsinfer-zoo's schema (wsinfer_zoo/schemas/model-config.schema.json)."""
CLASS_NAMES = ("Other", "Tumor")
"""QuPath has colours for these."""
MODEL_FILE = "torchscript_model.pt"
CONFIG_FILE = "config.json"
TOLERANCE = 1e-4
_TRACED_PATCHES = 2


class TwoClassLogits(nn.Module):
    """Logits (B, 2) = (0, z) from a weak model's tumour logits z (B,).

    WSInfer takes the softmax over the classes: that of (0, z) is (1 − sigmoid(z), sigmoid(z)).
    """

    def __init__(self, weak_model: nn.Module) -> None:
        super().__init__()
        self.weak_model = weak_model

    def forward(self, images: Tensor) -> Tensor:
        logits = self.weak_model(images).float()
        # Not torch.zeros_like: a trace would put its zeros on the device of the export for good.
        return F.pad(logits[:, None], (1, 0))


class TraceableAdlResNet(AdlResNet):
    """The classifier for images of one size, with the mask of its frequencies as a buffer.

    A trace fixes the device of tensors that are created on the way; a buffer moves with the module.
    """

    removed: Tensor

    def __init__(self, spec: NetworkSpec, side: int) -> None:
        super().__init__(spec)
        side = spec.input_size or side
        removed = select_low_frequencies(side, side, spec.evp_ratio, spec.evp_block)
        self.register_buffer("removed", removed, persistent=False)

    def high_frequencies(self, images: Tensor) -> Tensor:
        return remove_frequencies(images, self.removed)


def write_wsinfer_folder(folder: Path, classifier_file: Path) -> None:
    """Write torchscript_model.pt and config.json of a classifier.

    Raises WeightsError if the checkpoint does not fit, or does not state the size of its patches in
    pixels and in µm.
    """
    metadata = load_plain(classifier_file)
    patch_size, mpp = _require_frame(classifier_file, metadata)
    model = TwoClassLogits(_load_traceable(classifier_file, metadata, patch_size)).eval()
    traced = _trace(model, patch_size)
    with whole_file(folder / MODEL_FILE) as temporary:
        _save(traced, temporary)
        _check_reloaded(temporary, model, patch_size)
    write_json(folder / CONFIG_FILE, describe_model(metadata, patch_size, mpp))


def describe_model(metadata: dict[str, Any], patch_size: int, mpp: float) -> dict[str, Any]:
    """The content of config.json."""
    spec = metadata.get("spec", {})
    return {
        "spec_version": SPEC_VERSION,
        "architecture": str(spec.get("backbone", metadata.get(NAME_KEY, DEFAULT))),
        "num_classes": len(CLASS_NAMES),
        "class_names": list(CLASS_NAMES),
        "patch_size_pixels": patch_size,
        "spacing_um_px": mpp,
        # The network normalises and resizes by itself.
        "transform": [
            {"name": "Resize", "arguments": {"size": patch_size}},
            {"name": "ToTensor"},
        ],
    }


def _require_frame(path: Path, metadata: dict[str, Any]) -> tuple[int, float]:
    patch_size, mpp = metadata.get("patch_size"), metadata.get("mpp")
    if not patch_size or not mpp:
        raise WeightsError(
            f"{path}: does not state the µm/px of its patches, which WSInfer needs; fill column "
            "mpp of patches.csv and train the classifier again, or leave wsinfer out of --formats"
        )
    return int(patch_size), float(mpp)


def _load_traceable(path: Path, metadata: dict[str, Any], patch_size: int) -> nn.Module:
    if metadata.get(NAME_KEY, DEFAULT) != DEFAULT:
        other: nn.Module = load_weak_model(path, DeviceConfig(torch.device("cpu"), None))
        return other
    classifier = load_classifier(path, "cpu")
    traceable = TraceableAdlResNet(classifier.spec, patch_size)
    traceable.load_state_dict(classifier.state_dict())
    return traceable.eval()


def _trace(model: nn.Module, patch_size: int) -> torch.jit.ScriptModule:
    with torch.no_grad(), warnings.catch_warnings():
        # Sizes are fixed on purpose, which the tracer warns of; torch.jit is deprecated, but it is
        # what WSInfer loads.
        warnings.simplefilter("ignore")
        traced: torch.jit.ScriptModule = torch.jit.trace(
            model, _draw_patches(_TRACED_PATCHES, patch_size), check_trace=False
        )
    return traced


def _save(traced: torch.jit.ScriptModule, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(traced, str(path))


def _check_reloaded(path: Path, model: nn.Module, patch_size: int) -> None:
    """Raise WeightsError unless the file gives the model's logits, for another batch size, too."""
    patches = _draw_patches(_TRACED_PATCHES + 1, patch_size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reloaded = torch.jit.load(str(path), map_location="cpu")
        difference = (reloaded(patches) - model(patches)).abs().max()
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"{path.name}: its logits differ by {float(difference):.2g} from those of the "
            "classifier; export with another version of PyTorch"
        )


def _draw_patches(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(count))
