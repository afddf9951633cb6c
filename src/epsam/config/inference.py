"""Flags of infer.py: images or slides → masks, overlays and metrics."""

from dataclasses import dataclass

from epsam.config.common import (
    AnnotationOptions,
    MergeOptions,
    RecipeOptions,
    RunOptions,
    SeedOptions,
    SlideResolutionOptions,
)
from epsam.config.flags import flag, fraction
from epsam.config.sam import SAM_NAMES, PromptOverrides, SamOptions


@dataclass(frozen=True)
class CheckpointOptions:
    """Checkpoints"""

    resnet_checkpoint: str = flag(
        "",
        "checkpoint of the classifier; empty: the run's",
        affects_result=True,
        names_weights=True,
    )
    sam_decoder_checkpoint: str = flag(
        "",
        "checkpoint of the decoder; empty: the run's last",
        affects_result=True,
        names_weights=True,
    )


@dataclass(frozen=True)
class GateOptions:
    """Classifier gate"""

    # docs/deviations.md, "Classifier gate".
    classifier_gate: bool = flag(
        True,
        "no mask where the classifier sees no tumour: in images without a label in their name, "
        "and in each tile of larger images and slides",
        affects_result=True,
    )
    gate_threshold: float = fraction(
        0.5, "tumour probability below which nothing is segmented", affects_result=True
    )
    gate_from: str = flag(
        "fixed",
        "the gate's threshold: --gate_threshold (fixed), or what separates the patches of the "
        "run's validation split best, found by evaluate.py from their labels alone (validation)",
        choices=("fixed", "validation"),
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class MaskThresholdOptions:
    """Mask threshold"""

    # docs/deviations.md, "Choice of the epoch".
    mask_threshold: float = fraction(
        0.5,
        "a pixel is tumour where its probability exceeds this",
        affects_result=True,
        since="0.3",
    )
    mask_threshold_from: str = flag(
        "fixed",
        "the mask's threshold: --mask_threshold (fixed), or where the last decoder agrees best "
        "with the initial masks of the run's validation split, found by evaluate.py without "
        "ground truth (validation)",
        choices=("fixed", "validation"),
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class SlideInferOptions(SlideResolutionOptions):
    """Whole slides"""

    mpp: float = flag(
        0.0,
        "pixel size at which slides are read, or that images have, µm/px; 0: that of the training "
        "patches",
        at_least=0,
        affects_result=True,
    )
    min_tissue: float = fraction(
        0.01,
        "minimum tissue fraction of a tile; tiles with less are background",
        affects_result=True,
    )
    clip_to_tissue: bool = flag(
        True,
        "remove what is segmented on glass, outside of the tissue and the gaps in it",
        affects_result=True,
    )
    min_region: float = flag(
        0.0,
        "remove regions, and fill gaps in them, smaller than this, µm², in a slide's mask and "
        "contours; 0: none",
        at_least=0,
        affects_result=True,
    )
    min_outline: float = flag(
        1000.0,
        "leave regions smaller than this, µm², out of a slide's contours and regions.csv; its mask "
        "keeps them; 0: none",
        at_least=0,
        affects_result=True,
        since="0.3",
    )
    asap: bool = flag(False, "write a slide's contours as ASAP XML, too", affects_result=True)
    geojson_gzip: bool = flag(
        False,
        "write a slide's contours gzipped, as tumour.geojson.gz, for slides of very many regions",
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class ModelOptions:
    """Model"""

    segment_by: str = flag(
        "trained",
        "what segments: the decoder or segmenter that the run has trained, or its initial masks "
        "alone (maps)",
        choices=("trained", "maps"),
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class InferOptions(
    ModelOptions,
    CheckpointOptions,
    GateOptions,
    MaskThresholdOptions,
    SlideInferOptions,
    AnnotationOptions,
    MergeOptions,
    PromptOverrides,
    SamOptions,
    SeedOptions,
    RecipeOptions,
    RunOptions,
):
    """Step 6: images or slides → masks, overlays, metrics."""

    sam_model_type: str = flag(
        "",
        "SAM's image encoder; empty: that of the decoder's training, by its file",
        choices=SAM_NAMES,
        affects_result=True,
        names_weights=True,
    )
    as_: str = flag(
        "auto",
        "what the test folder holds; auto: slides if there is one, else images",
        affects_result=False,
        choices=("auto", "images", "slides"),
    )
    labels: str = flag(
        "auto",
        "whether _1 and _0 at the end of an image's name, or labels.csv and class folders, state "
        "its label; auto: in a folder with mask/, labels.csv or patches.csv; names: in any folder",
        affects_result=True,
        choices=("auto", "names"),
    )

    output_dir: str = flag(
        "infer_output", "folder for masks, overlays and metrics", affects_result=False
    )
    overlap: float = flag(
        0.25,
        "fraction by which tiles of a larger image overlap",
        at_least=0,
        at_most=0.9,
        affects_result=True,
    )
    batch_size: int = flag(4, "tiles per batch", at_least=1, affects_result=False)
    read_threads: int = flag(
        0,
        "threads that read batches of a slide's tiles ahead of the model; 0: 4 beside a GPU, 1 on "
        "a CPU",
        at_least=0,
        at_most=64,
        affects_result=False,
    )
