"""Flags of train_segmenter.py: masks → any segmenter of `methods.SEGMENTERS`."""

from dataclasses import dataclass

from epsam.config.common import LeafOptions, SeedOptions, StageOptions
from epsam.config.flags import flag
from epsam.methods import SEGMENTERS


@dataclass(frozen=True)
class SegmenterOptions(LeafOptions, SeedOptions, StageOptions):
    """Masks → a segmenter without prompts, such as a U-Net."""

    segmenter: str = flag(
        "",
        "network, a row of SEGMENTERS in epsam/methods.py (docs/extending.md)",
        choices=tuple(SEGMENTERS),
        affects_result=True,
    )
    encoder: str = flag(
        "resnet50",
        "encoder of unet and deeplab",
        source="paper Table 2",
        choices=("resnet50", "resnet18"),
        affects_result=True,
        since="0.3",
    )
    pretrained: str = flag(
        "imagenet",
        "initial weights of this encoder: imagenet, none, or the path of a torchvision checkpoint",
        affects_result=True,
        since="0.3",
    )
    targets: str = flag(
        "initial",
        "masks of the training patches: ground truth, initial masks, the newest accepted "
        "pseudo-labels, or those of three layers of the classifier (of wsss_tissue)",
        choices=("ground_truth", "initial", "pseudo", "layers"),
        affects_result=True,
    )
    # The masks themselves are part of the fingerprint.
    from_run: str = flag(
        "",
        "finished EP-SAM run whose last pseudo-labels are the masks, for --targets pseudo; empty: "
        "this run's",
        affects_result=False,
    )
    normal_patches: bool = flag(
        False, "train on normal patches, too, with an empty mask", affects_result=True
    )
    batch_size: int = flag(8, "batch size", at_least=1, affects_result=True)
    epoch: int = flag(20, "epochs", at_least=1, affects_result=True)
    lr: float = flag(
        1e-4,
        "AdamW's learning rate, which follows a cosine to 0",
        at_least=0,
        affects_result=True,
    )
    weight_decay: float = flag(1e-2, "AdamW's weight decay", at_least=0, affects_result=True)
    patience: int = flag(
        10,
        "stop after this many epochs without a better validation Dice; 0: never",
        at_least=0,
        affects_result=True,
    )
    workers: int = flag(
        4, "processes that load patches; 0: the main process", affects_result=False, at_least=0
    )
