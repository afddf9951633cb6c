"""Flags of train_classifier.py: patches → classifier."""

from dataclasses import dataclass

from epsam.config.common import SeedOptions, StageOptions
from epsam.config.flags import flag, fraction
from epsam.methods import CAM_METHODS


@dataclass(frozen=True)
class NetworkOptions:
    """The classifier's network."""

    cam: str = flag(
        "enhanced_adl",
        "activation map that it is for: the network is plain, has ADL, or the prompt too",
        source="paper 3.2.1",
        choices=tuple(CAM_METHODS),
    )
    backbone: str = flag(
        "resnet50", "classifier network", source="paper 3.2.1", choices=("resnet50", "resnet18")
    )
    pretrained: str = flag(
        "imagenet", "start from: imagenet, none, or the path of a torchvision checkpoint"
    )
    evp_ratio: float = fraction(
        0.25, "share of the spectrum that the explicit visual prompt removes", source="EVP, 0.25"
    )
    evp_fuse: str = flag(
        "concat",
        "a fourth channel, or added to the patch",
        source="published code",
        choices=("concat", "add"),
    )
    adl_positions: tuple[str, ...] = flag(
        ("3.0", "4.0"), "ADL after these blocks, layer.block", source="paper 3.2.1"
    )
    adl_drop_rate: float = fraction(
        0.75, "probability that ADL drops instead of weighting", source="published code"
    )
    adl_threshold: float = fraction(
        0.8, "ADL drops above this share of the largest attention", source="published code"
    )
    input_size: int = flag(
        0, "side that the classifier sees, px; 0: the patch as it is", at_least=0
    )


@dataclass(frozen=True)
class ClassifierOptions(NetworkOptions, SeedOptions, StageOptions):
    """Step 2: patches → classifier."""

    train_image_dir: str = flag("", "train images; empty: image/ of the train folder")
    val_image_dir: str = flag("", "validation images; empty: image/ of the validation folder")
    test_image_dir: str = flag("", "test images; empty: image/ of the test folder")
    batch_size: int = flag(16, "patches a step", source="paper 4.2", at_least=1)
    epoch: int = flag(50, "passes over the training patches", source="paper 4.2", at_least=1)
    lr: float = flag(1e-5, "Adam's learning rate", source="paper 4.2", at_least=0)
    weight_decay: float = flag(1e-3, "Adam's weight decay", source="paper 4.2", at_least=0)
    lr_step: int = flag(
        10,
        "epochs between reductions of the learning rate; 0: constant",
        source="published code",
        at_least=0,
    )
    lr_decay: float = flag(0.9, "factor of each reduction", source="published code", at_least=0)
    patience: int = flag(
        25,
        "epochs without a better validation loss before stopping",
        source="published code",
        at_least=0,
    )
    workers: int = flag(
        4, "processes that load patches; 0: none beside this one", affects_result=False, at_least=0
    )
