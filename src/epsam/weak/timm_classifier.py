"""A classifier on any encoder of the package timm, such as a pathology encoder, for the CAM methods
that need nothing but features (paper Table 2: Grad-CAM, Grad-CAM++, EigenCAM).
"""

import ast
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epsam.config.classifier import TIMM, ClassifierOptions
from epsam.core.checkpoints import State, check_fit, load_network, load_plain, named_tensors
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.seeding import seed_for
from epsam.methods import CAM_METHODS
from epsam.weak.cam_classifier import CamClassifier, NetworkSpec
from epsam.weak.weights import read_spec

SAFETENSORS = ".safetensors"


class TimmClassifier(CamClassifier):
    """An encoder of timm, the mean over its cells, and one linear layer.

    spec.backbone: "timm:<name>", or "timm:<name>,<argument>=<value>,…" with arguments of the
    encoder. The weights are random; nothing is downloaded. Raises TrainingError if timm has no such
    encoder.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        if CAM_METHODS[spec.cam].classifier != "plain":
            plain = [name for name, method in CAM_METHODS.items() if method.classifier == "plain"]
            raise TrainingError(
                f"--backbone {spec.backbone}: --cam {spec.cam} needs a ResNet; use --cam "
                f"{' or '.join(plain)}"
            )
        self.encoder = _create_encoder(spec.backbone)
        self.fc = nn.Linear(self.encoder.num_features, 1)

    def features(self, images: Tensor, block: str = "") -> Tensor:
        """The last features (B, C, h, w). Raises TrainingError for any block but the last."""
        if block:
            raise TrainingError(
                f"block {block}: {self.spec.backbone} has its last block alone; leave --cam_layer "
                "out"
            )
        outputs: Tensor = self.encoder.forward_features(self.normalise(self.resize(images)))
        return _to_map(outputs, self.encoder)

    def head(self, features: Tensor, block: str = "") -> Tensor:
        """Tumour logits (B,) from the last features."""
        logits: Tensor = self.fc(features.mean(dim=(2, 3)))
        return logits.squeeze(1)


def build_timm(options: ClassifierOptions) -> TimmClassifier:
    """The classifier with the encoder's weights of --pretrained; what is random depends on the seed
    alone.

    Raises WeightsError if they are not a file of this encoder.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(options.seed, "classifier weights"))
        model = TimmClassifier(NetworkSpec.of(options))
    if options.pretrained == "imagenet":
        raise WeightsError(
            f"--backbone {options.backbone}: its weights are not fetched; give their file "
            "(.safetensors, .pth, .bin) by --pretrained, or use --pretrained none"
        )
    if options.pretrained != "none":
        _load_encoder(model, Path(options.pretrained))
    return model


def load_timm(path: Path, spec: Mapping[str, Any], device_config: DeviceConfig) -> TimmClassifier:
    """The trained classifier of a checkpoint with that "spec", in evaluation mode on its device.

    Raises WeightsError if the file does not fit.
    """
    try:
        model = TimmClassifier(read_spec(spec))
    except (TrainingError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: describes no network of this project ({error}); train the classifier again"
        ) from error
    load_network(path, model)
    return model.to(device_config.device).eval()


def _create_encoder(backbone: str) -> Any:
    # timm takes seconds to import.
    import timm

    name, _, arguments = backbone.removeprefix(TIMM).partition(",")
    if name not in timm.list_models():
        raise TrainingError(
            f"--backbone {backbone}: timm {timm.__version__} has no such encoder; its names are "
            "those of timm.list_models()"
        )
    settings = _read_arguments(backbone, arguments)
    try:
        # Vision transformers resize their positions to the image by this argument alone.
        return timm.create_model(name, num_classes=0, **{"dynamic_img_size": True, **settings})
    except TypeError:
        pass
    try:
        return timm.create_model(name, num_classes=0, **settings)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"--backbone {backbone}: timm cannot build it ({error}); correct its arguments"
        ) from error


def _read_arguments(backbone: str, text: str) -> dict[str, Any]:
    """The arguments of an encoder, from text as in "init_values=1e-5,depths=(1,1)"."""
    settings = {}
    try:
        # They are read as those of a call, whose values may hold commas.
        call: Any = ast.parse(f"encoder({text})", mode="eval").body
        if call.args:
            raise ValueError(text)
        for argument in call.keywords:
            settings[argument.arg] = ast.literal_eval(argument.value)
    except (ValueError, SyntaxError, AttributeError) as error:
        raise TrainingError(
            f"--backbone {backbone}: {text!r} are no arguments; write them as init_values=1e-5"
        ) from error
    return settings


def _to_map(outputs: Tensor, encoder: Any) -> Tensor:
    """An encoder's outputs as features (B, C, h, w): from tokens (B, N, C), with or without class
    and register tokens, from (B, h, w, C), or as they are.

    Raises TrainingError if the tokens are those of no square.
    """
    channels = encoder.num_features
    if outputs.ndim == 4:
        return outputs if outputs.shape[1] == channels else outputs.permute(0, 3, 1, 2)
    tokens = outputs[:, getattr(encoder, "num_prefix_tokens", 0) :]
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise TrainingError(
            f"--backbone: {tokens.shape[1]} tokens are no square; use an encoder of a square grid"
        )
    return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)


def _load_encoder(model: TimmClassifier, path: Path) -> None:
    """Load the file of an encoder, without its own classifier."""
    expected = model.encoder.state_dict()
    state = {}
    for key, tensor in _read_state(path).items():
        # A classifier's head has another name in each encoder; the network here has none.
        if key in expected or not _is_head(key, model.encoder):
            state[key] = tensor
    check_fit(path, model.spec.backbone, state, expected)
    model.encoder.load_state_dict(state)


def _is_head(key: str, encoder: Any) -> bool:
    names = encoder.pretrained_cfg.get("classifier") or ()
    heads = (names,) if isinstance(names, str) else names
    return any(key.startswith(f"{head}.") for head in heads)


def _read_state(path: Path) -> State:
    if path.suffix != SAFETENSORS:
        return named_tensors(path, load_plain(path))
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: no whole file of tensors ({type(error).__name__}); get it again, or correct "
            "the path"
        ) from error
    return state
