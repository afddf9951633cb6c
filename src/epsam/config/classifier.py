"""Flags of train_classifier.py: patches → classifier."""

from dataclasses import dataclass

from epsam.config.common import LeafOptions, SeedOptions, StageOptions
from epsam.config.flags import flag, fraction
from epsam.config.sam import MapSamOptions
from epsam.methods import CAM_METHODS, WEAK_MODELS

TIMM = "timm:"
"""How the name of a backbone begins that is an encoder of the package timm."""


@dataclass(frozen=True)
class NetworkOptions:
    """Classifier network"""

    weak_model: str = flag(
        "adl_resnet",
        "network that learns from patch labels: a ResNet (adl_resnet; the flags below are its "
        "own), SAM's encoder with adapters (sam_encoder), or multiple-instance learning (…_mil)",
        choices=tuple(WEAK_MODELS),
        affects_result=True,
        since="0.3",
    )
    cam: str = flag(
        "enhanced_adl",
        "CAM method that the classifier is trained for: it decides whether the network is plain, "
        "has ADL, or has ADL and the explicit visual prompt",
        source="paper 3.2.1",
        choices=tuple(CAM_METHODS),
        affects_result=True,
    )
    backbone: str = flag(
        "resnet50",
        "backbone: a ResNet; or, for --cam gradcam, gradcam++ and eigencam, any encoder of the "
        "package timm as timm:<name>, such as timm:vit_large_patch16_224,init_values=1e-5, with "
        "its file in --pretrained; resnet38 is for --weak_model wsss_tissue",
        source="paper 3.2.1",
        choices=("resnet50", "resnet18", "resnet38"),
        or_prefix=TIMM,
        affects_result=True,
    )
    # docs/deviations.md, "ImageNet start", "Frequency mask", "Visual prompt as a fourth channel".
    pretrained: str = flag(
        "imagenet",
        "initial weights: imagenet, none, or the path of a torchvision checkpoint (for timm:… of "
        "the encoder's)",
        affects_result=True,
    )
    evp_ratio: float = fraction(
        0.25,
        "fraction of the spectrum's area that the explicit visual prompt removes",
        source="EVP (Liu et al. 2023)",
        affects_result=True,
    )
    evp_fuse: str = flag(
        "concat",
        "the explicit visual prompt is a fourth channel, or is added to the patch",
        source="published code",
        choices=("concat", "add"),
        affects_result=True,
    )
    # docs/deviations.md, "Positions of ADL" and "ADL's draw".
    adl_positions: tuple[str, ...] = flag(
        ("3.0", "4.0"),
        "blocks that ADL follows, as layer.block",
        source="paper 3.2.1",
        affects_result=True,
    )
    adl_drop_rate: float = fraction(
        0.75,
        "probability that ADL applies the drop map, not the importance map",
        source="published code",
        affects_result=True,
    )
    adl_threshold: float = fraction(
        0.8,
        "ADL drops what exceeds this fraction of the largest attention",
        source="published code",
        affects_result=True,
    )
    tissue_labels: str = flag(
        "both",
        "classes of a patch with tumour, for --weak_model wsss_tissue: tumour and normal tissue "
        "(both), or tumour alone (single)",
        choices=("both", "single"),
        affects_result=True,
        since="0.3",
    )
    input_size: int = flag(
        0,
        "side to which patches are resized for the classifier, px; 0: as they are, or 256 for "
        "sam_encoder",
        at_least=0,
        affects_result=True,
    )


@dataclass(frozen=True)
class SubclassOptions:
    """Sub-classes

    WeakMedSAM's sub-class exploration; docs/deviations.md, "Sub-classes".
    """

    subclasses: int = flag(
        0,
        "clusters of the training patches with tumour, which a second head learns to tell apart; "
        "the maps come from the first head alone; 0: no second head; the released code has 8",
        at_least=0,
        affects_result=True,
        since="0.3",
    )
    subclass_weight: float = flag(
        0.5,
        "weight of the second head's loss beside the first's",
        source="WeakMedSAM",
        at_least=0,
        affects_result=True,
        since="0.3",
    )
    subclass_features: str = flag(
        "start",
        "network whose features are clustered: this one as training starts, a ResNet18 trained on "
        "ImageNet (imagenet; released code), or the path of a trained classifier",
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class MilOptions:
    """Multiple-instance learning (dws_mil, sa_mil, swin_mil)"""

    mil_power: float = flag(
        4.0,
        "power r of the generalised mean that turns a map into the probability of its patch: 1 is "
        "the mean, much more the maximum",
        source="SA-MIL's code",
        at_least=1,
        affects_result=True,
        since="0.3",
    )
    side_lr_factor: float = flag(
        0.01,
        "learning rate of the side outputs, as a factor of --lr",
        source="SA-MIL's code",
        at_least=0,
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class ImageFolderOptions:
    """Image folders"""

    train_image_dir: str = flag(
        "", "train images; empty: image/ of the train folder", affects_result=True
    )
    val_image_dir: str = flag(
        "", "validation images; empty: image/ of the validation folder", affects_result=True
    )
    test_image_dir: str = flag(
        "", "test images; empty: image/ of the test folder", affects_result=True
    )


@dataclass(frozen=True)
class ClassifierOptions(
    NetworkOptions,
    MapSamOptions,
    SubclassOptions,
    MilOptions,
    ImageFolderOptions,
    LeafOptions,
    SeedOptions,
    StageOptions,
):
    """Step 2: patches → classifier."""

    batch_size: int = flag(16, "batch size", source="paper 4.2", at_least=1, affects_result=True)
    epoch: int = flag(50, "epochs", source="paper 4.2", at_least=1, affects_result=True)
    lr: float = flag(
        1e-5, "Adam's learning rate", source="paper 4.2", at_least=0, affects_result=True
    )
    weight_decay: float = flag(
        1e-3, "Adam's weight decay", source="paper 4.2", at_least=0, affects_result=True
    )
    # docs/deviations.md, "Classifier schedule".
    lr_step: int = flag(
        10,
        "epochs between reductions of the learning rate; 0: constant",
        source="published code",
        at_least=0,
        affects_result=True,
    )
    lr_decay: float = flag(
        0.9, "factor of each reduction", source="published code", at_least=0, affects_result=True
    )
    # docs/deviations.md, "Training from random weights", here and below.
    warm_up: int = flag(
        0,
        "first epochs, in which the learning rate rises linearly to --lr; 0: none",
        at_least=0,
        affects_result=True,
        since="0.3",
    )
    stain_jitter: float = fraction(
        0.0,
        "stain augmentation: haematoxylin, eosin and residual of a training patch are scaled by "
        "1 ± this and shifted by ± this, in optical density; 0: colour jitter alone",
        affects_result=True,
        since="0.3",
    )
    balance_classes: bool = flag(
        False,
        "weight the losses of patches with and without tumour inversely to how many there are",
        affects_result=True,
        since="0.3",
    )
    adl_begin: int = flag(
        1,
        "first epoch in which ADL acts; 1: from the start",
        at_least=1,
        affects_result=True,
        since="0.3",
    )
    ema: float = fraction(
        0.0,
        "the classifier is the exponential moving average of the weights over the steps, with this "
        "decay; 0: the weights themselves",
        affects_result=True,
        since="0.3",
    )
    patience: int = flag(
        25,
        "stop after this many epochs without a better validation loss; 0: never",
        source="published code",
        at_least=0,
        affects_result=True,
    )
    workers: int = flag(
        4, "processes that load patches; 0: the main process", affects_result=False, at_least=0
    )
