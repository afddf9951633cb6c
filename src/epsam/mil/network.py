"""A network of multiple-instance learning as a weak model, its weights and its checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from epsam.config.classifier import ClassifierOptions
from epsam.core.checkpoints import load_network, load_plain, save_network
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.seeding import seed_for
from epsam.data.colours import Colour
from epsam.mil.encoders import MilEncoder, load_pretrained
from epsam.mil.loss import bag_loss, bag_probability
from epsam.mil.side_outputs import SideOutputs
from epsam.weak.input_size import resize_square
from epsam.weak.protocol import WeakPrediction
from epsam.weak.resnet import IMAGENET_MEAN, IMAGENET_STD

SPEC_KEY = "mil"
"""Key of a checkpoint: the fields of `MilSpec`."""


@dataclass(frozen=True)
class MilSpec:
    """What decides a network's result beside its weights.

    weights: of each stage's map in the fused one. power: r of the generalised mean. input_size:
    side in px that images are resized to; 0: none.
    """

    weights: tuple[float, float, float]
    power: float
    input_size: int


class MilNetwork(nn.Module):
    """A `WeakModel` of RGB images (B, 3, side, side) in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: MilEncoder, spec: MilSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = encoder
        self.side_outputs = SideOutputs(encoder.channels, spec.weights)
        # Until `set_normalisation`.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def set_normalisation(self, mean: Colour, std: Colour) -> None:
        """Take mean and standard deviation of each colour of the training patches, in 0..1."""
        self.mean.copy_(torch.from_numpy(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.from_numpy(std).view(1, 3, 1, 1))

    def parameter_groups(self, lr: float, side_lr_factor: float) -> list[dict[str, Any]]:
        """Groups of parameters for the optimiser: side outputs learn at another rate."""
        return [
            {"params": list(self.encoder.parameters()), "lr": lr},
            {"params": list(self.side_outputs.parameters()), "lr": lr * side_lr_factor},
        ]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Probabilities (B, 1, h, w), float32, in the input's size: the fused map, then those of
        the stages.
        """
        inputs = resize_square(images, self.spec.input_size)
        features = self.encoder((inputs - self.mean) / self.std)
        return self.side_outputs(features, inputs.shape[-1])  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Tumour logits (B,): of the generalised mean of the fused map."""
        return bag_probability(self.maps(images)[0], self.spec.power).logit()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy (B,) of the fused map and of each stage's, summed."""
        return bag_loss(self.maps(images), labels, self.spec.power)

    def predict(self, images: Tensor) -> WeakPrediction:
        """Logits (B, 1), and the fused maps (B, 1, h, w), which are probabilities."""
        fused = self.maps(images)[0]
        logits = bag_probability(fused, self.spec.power).logit()
        return WeakPrediction(logits[:, None], fused)


def build_network(
    name: str,
    build_encoder: Callable[[], MilEncoder],
    weights: tuple[float, float, float],
    options: ClassifierOptions,
) -> MilNetwork:
    """The network with the encoder's weights of --pretrained; what is random depends on the seed
    alone.

    Raises WeightsError if the encoder's weights cannot be obtained or do not fit, TrainingError for
    flags of another weak model.
    """
    if options.subclasses:
        raise TrainingError(
            f"--subclasses {options.subclasses}: {name} has no second head; leave it out, or use "
            "--weak_model adl_resnet"
        )
    spec = MilSpec(weights, options.mil_power, options.input_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(options.seed, f"{name} weights"))
        encoder = build_encoder()
        model = MilNetwork(encoder, spec)
    load_pretrained(encoder, options.pretrained, Path(options.checkpoint_root))
    return model


def save(path: Path, model: MilNetwork, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    save_network(path, model, {**extra, SPEC_KEY: asdict(model.spec)})


def load_mil_network(
    path: Path, build_encoder: Callable[[], MilEncoder], device_config: DeviceConfig
) -> MilNetwork:
    """The network of a checkpoint. Raises WeightsError if it does not fit."""
    try:
        fields = dict(load_plain(path)[SPEC_KEY])
        spec = MilSpec(**{**fields, "weights": tuple(fields["weights"])})
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: describes no network of this project ({error!r}); train it again"
        ) from error
    model = MilNetwork(build_encoder(), spec)
    load_network(path, model)
    return model.to(device_config.device).eval()
