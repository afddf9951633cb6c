"""The flags of infer.py; those that it shares with the stages are in epsam/options.py."""

from dataclasses import dataclass

from epsam.config.common import RunOptions, SeedOptions, ShardOptions
from epsam.config.flags import flag, fraction
from epsam.config.sam import PromptOverrides, SamOptions


@dataclass(frozen=True)
class SlideInferOptions:
    """Whole slides through the trained pipeline."""

    mpp: float = flag(
        0.0,
        "resolution at which slides are read, µm/px; 0: that of the training patches",
        at_least=0,
    )
    slide_mpp: float = flag(
        0.0, "resolution of slides whose file does not tell it, µm/px; 0: not known", at_least=0
    )
    min_tissue: float = fraction(
        0.01, "least tissue share of a slide's window that is looked at; the rest is background"
    )
    clip_to_tissue: bool = flag(
        True, "nothing is found on the glass of a slide, beyond tissue with the gaps in it"
    )
    min_region: float = flag(
        0.0,
        "regions, and gaps in them, smaller than this, µm², are left out of a slide's mask "
        "and outlines; 0: none",
        at_least=0,
    )
    asap: bool = flag(False, "write a slide's outlines as ASAP XML, too")


@dataclass(frozen=True)
class InferOptions(
    SlideInferOptions, ShardOptions, PromptOverrides, SamOptions, SeedOptions, RunOptions
):
    """Step 6: images or slides → masks, overlays, metrics."""

    resnet_checkpoint: str = flag("", "classifier; empty: the run's own")
    sam_decoder_checkpoint: str = flag("", "decoder; empty: the run's last")
    output_dir: str = flag("infer_output", "folder for masks, overlays and metrics")
    classifier_gate: bool = flag(
        True,
        "no mask where the classifier sees no tumour: in images that have no label in "
        "their name, and in each window of those larger than one",
    )
    gate_threshold: float = flag(
        0.5, "the gate closes below this tumour probability", source="methods D26", at_least=0
    )
    overlap: float = flag(
        0.25, "share by which windows of a larger image overlap", at_least=0, at_most=0.9
    )
    batch_size: int = flag(4, "windows a pass", at_least=1)
