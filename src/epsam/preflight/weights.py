"""Are the weights of SAM and of the classifier's start there, intact, and of the right network?"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import BoxDecoderOptions
from epsam.config.masks import MaskOptions
from epsam.config.sam import MapSamOptions, SamOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.downloads import unreachable
from epsam.core.errors import DatasetError
from epsam.core.files import sha256_of
from epsam.engine.stage import read_completion_record
from epsam.methods import WEAK_MODELS, load_module
from epsam.paths import RunPaths
from epsam.preflight.finding import Finding, problem, warning
from epsam.segment.sam.map_sam import map_sam_name
from epsam.segment.sam.specs import SPECS, find_medsam_checkpoint
from epsam.weak.imagenet import IMAGENET_FILES, IMAGENET_SITE, find_imagenet_file

BACKBONE_MODELS = ("adl_resnet", "wsss_tissue")
"""The weak models whose network is that of --backbone."""


def check_map_sam(options: MapSamOptions, dataset_type: str, folder: Path) -> Iterator[Finding]:
    """Check the weights of the SAM behind the maps, as `check_sam` does."""
    sam = SamOptions(map_sam_name(options.map_sam, dataset_type), options.map_sam_checkpoint)
    yield from check_sam(sam, folder, flag="--map_sam_checkpoint")


def check_sam(
    options: SamOptions, folder: Path, loaded_sha256: str = "", flag: str = "--sam_checkpoint"
) -> Iterator[Finding]:
    """Check SAM's weights: a published file by its hash, a user's file by names and shapes of its
    tensors.

    loaded_sha256: checksum of a file that is known to fit (see `find_loaded_sam`). flag: the one
    that names a user's file. Raises WeightsError on a file of another network.
    """
    spec = SPECS[options.sam_model_type]
    path = Path(options.sam_checkpoint) if options.sam_checkpoint else folder / spec.file
    if not path.is_file():
        yield _describe_missing_sam(options, path, flag)
    elif spec.sha256 and not options.sam_checkpoint:
        if sha256_of(path) != spec.sha256:
            yield problem(
                f"{path}: its SHA-256 is not that of {spec.file}; remove it, and it is fetched "
                "again"
            )
    elif not loaded_sha256 or sha256_of(path) != loaded_sha256:
        _check_tensors(path, options.sam_model_type)


def check_medsam(
    options: BoxDecoderOptions, folder: Path, loaded_sha256: str = ""
) -> Iterator[Finding]:
    """The same for MedSAM's weights, which have no hash of their own here.

    Raises WeightsError if they are missing.
    """
    path = find_medsam_checkpoint(options.sam_checkpoint, folder)
    yield from check_sam(replace(options, sam_checkpoint=str(path)), folder, loaded_sha256)


def find_loaded_sam(run: RunPaths, sam_model_type: str) -> str:
    """The checksum of the file that the run's first decoder was trained with, so that it fits this
    network; "" if there is none.
    """
    for completion in ("decoder_0", "train_box_decoder"):
        try:
            record = read_completion_record(run.root / "stages" / f"{completion}.json")
            if record["options"]["sam_model_type"] == sam_model_type:
                return str(record["inputs"]["sam"])
        except (OSError, DatasetError, LookupError, TypeError):
            continue
    return ""


def _check_tensors(path: Path, sam_model_type: str) -> None:
    # PyTorch takes seconds to import, and most checks have no use for it.
    import torch

    from epsam.core.checkpoints import check_fit, load_plain, named_tensors
    from epsam.segment.sam.models import build_sam, select_stored

    # The meta device has names and shapes, and takes no memory.
    with torch.device("meta"):
        tensors = build_sam(sam_model_type).state_dict()
    weights = named_tensors(path, load_plain(path))
    check_fit(path, sam_model_type, weights, select_stored(tensors, weights))


def _describe_missing_sam(options: SamOptions, path: Path, flag: str) -> Finding:
    url = SPECS[options.sam_model_type].url
    if options.sam_checkpoint:
        return problem(f"{path}: no such file; correct {flag} or leave it out")
    if not url:
        return problem(f"{path}: missing, though it comes with this repository; restore it")
    return _describe_download(path, url)


def check_classifier_start(options: ClassifierOptions, folder: Path) -> Iterator[Finding]:
    """The weights that the classifier's training starts from. Raises WeightsError if they do not
    fit.
    """
    backbone = _imagenet_backbone(options)
    is_other_network = backbone != "" and backbone not in IMAGENET_FILES
    if options.pretrained == "imagenet" and backbone in IMAGENET_FILES:
        if find_imagenet_file(backbone, folder) is None:
            name = IMAGENET_FILES[backbone]
            yield _describe_download(
                folder / name, IMAGENET_SITE + name, " or use --pretrained none"
            )
    elif is_other_network or options.pretrained not in ("imagenet", "none"):
        # It says which file is missing or does not fit.
        from epsam.weak.registry import build_weak_model

        build_weak_model(options)


def _imagenet_backbone(options: ClassifierOptions) -> str:
    """The network whose ImageNet weights the classifier starts from; "" for one that needs none."""
    if options.weak_model in BACKBONE_MODELS:
        return options.backbone
    method = load_module(WEAK_MODELS, "--weak_model", options.weak_model)
    return str(getattr(method, "IMAGENET_BACKBONE", ""))


def check_segmenter_start(options: SegmenterOptions, folder: Path) -> Iterator[Finding]:
    """The weights that the encoder of a segmenter starts from. Raises WeightsError if they do not
    fit.
    """
    if options.pretrained == "imagenet":
        if find_imagenet_file(options.encoder, folder) is None:
            name = IMAGENET_FILES[options.encoder]
            yield _describe_download(
                folder / name, IMAGENET_SITE + name, " or use --pretrained none"
            )
    elif options.pretrained != "none":
        from epsam.segment.registry import build_segmenter

        # The classifier that this one is built on may not be there yet.
        name = "deeplab" if options.segmenter == "wsss_tissue" else options.segmenter
        build_segmenter(replace(options, segmenter=name))


def check_resnet_checkpoint(options: MaskOptions) -> Iterator[Finding]:
    """The classifier that replaces the run's own, if the options name one."""
    if options.resnet_checkpoint and not Path(options.resnet_checkpoint).is_file():
        yield problem(
            f"{options.resnet_checkpoint}: no such file; correct --resnet_checkpoint or leave it "
            "out"
        )


def _describe_download(path: Path, url: str, hint: str = "") -> Finding:
    """A warning that a file will be downloaded, or a problem if its site cannot be reached."""
    reason = unreachable(url)
    if reason:
        return problem(
            f"{path}: missing, and {url} cannot be reached ({reason}); download that address "
            f"elsewhere and put the file at {path}{hint}"
        )
    return warning(f"{path}: not there yet; it will be downloaded from {url}")
