"""The flags of make_demo_slides.py and pretrain_demo_sam.py."""

from dataclasses import dataclass

from epsam.config.flags import flag


@dataclass(frozen=True)
class DemoOptions:
    """The made-up slides behind `--dataset_type demo`."""

    seed: int = flag(22, "seed of the slides", at_least=0, affects_result=True)
    output_dir: str = flag(
        "dataset/demo", "folder that gets images/ and annotations/", affects_result=False
    )
    workers: int = flag(
        0, "processes over slides; 0: one per core", at_least=0, affects_result=False
    )
    restart: bool = flag(False, "make the slides again", affects_result=False)
    debug: bool = flag(False, "on an error, print the traceback too", affects_result=False)


@dataclass(frozen=True)
class PretrainOptions:
    """How the weights of vit_demo were made; nobody needs it to use them."""

    seed: int = flag(
        22, "seed of the scenes and of the random start", at_least=0, affects_result=True
    )
    first_phase: str = flag(
        "", "phase to begin with, by name; empty: the first", affects_result=True
    )
    start: str = flag(
        "",
        "weights to begin with, those of the phase before; empty: a random start",
        affects_result=True,
    )
    batch_size: int = flag(6, "scenes per step, each drawn once", at_least=1, affects_result=True)
    targets: int = flag(
        2,
        "prompted regions of a scene; they share one pass of the encoder",
        at_least=1,
        affects_result=True,
    )
    weight_decay: float = flag(1e-2, "AdamW's weight decay", at_least=0, affects_result=True)
    output: str = flag("checkpoints/sam_vit_demo.pth", "file of the weights", affects_result=False)
    debug: bool = flag(False, "on an error, print the traceback too", affects_result=False)
