"""Are SAM's weights and the classifier's start there, whole, and made for the networks that take
them?
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from epsam.config.classifier import ClassifierOptions
from epsam.config.masks import MaskOptions
from epsam.config.sam import SamOptions
from epsam.core.checkpoints import check_fit, load_plain, named_tensors
from epsam.core.downloads import unreachable
from epsam.core.files import sha256_of
from epsam.preflight.finding import Finding, problem, warning
from epsam.segment.sam.models import SPECS, build_sam
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import IMAGENET_FILES, IMAGENET_SITE, find_imagenet_file, initialise_weights


def check_sam(options: SamOptions, folder: Path) -> Iterator[Finding]:
    """SAM's weights: the known file has the known hash, any other file the tensors of the
    network.
    """
    spec = SPECS[options.sam_model_type]
    path = Path(options.sam_checkpoint) if options.sam_checkpoint else folder / spec.file
    if not path.is_file():
        if options.sam_checkpoint:
            yield problem(f"{path}: no such file; correct --sam_checkpoint or leave it out")
        elif not spec.url:
            yield problem(f"{path}: missing, though it comes with this repository; restore it")
        else:
            yield _to_fetch(path, spec.url)
    elif spec.sha256 and not options.sam_checkpoint:
        if sha256_of(path) != spec.sha256:
            yield problem(
                f"{path}: its SHA-256 is not that of {spec.file}; remove it, and it is fetched again"
            )
    else:
        # On no device at all: names and shapes are there, memory is not taken.
        with torch.device("meta"):
            wanted = build_sam(options.sam_model_type).state_dict()
        check_fit(path, options.sam_model_type, named_tensors(path, load_plain(path)), wanted)


def check_classifier_start(options: ClassifierOptions, folder: Path) -> Iterator[Finding]:
    """What the classifier's training starts from."""
    if options.pretrained == "imagenet":
        if find_imagenet_file(options.backbone, folder) is None:
            name = IMAGENET_FILES[options.backbone]
            yield _to_fetch(folder / name, IMAGENET_SITE + name, " or use --pretrained none")
    elif options.pretrained != "none":
        initialise_weights(
            build_classifier(NetworkSpec.of(options)), options.pretrained, options.seed, folder
        )


def check_given_classifier(options: MaskOptions) -> Iterator[Finding]:
    """A classifier that is to be used instead of the run's own."""
    if options.resnet_checkpoint and not Path(options.resnet_checkpoint).is_file():
        yield problem(
            f"{options.resnet_checkpoint}: no such file; correct --resnet_checkpoint or leave it out"
        )


def _to_fetch(path: Path, url: str, hint: str = "") -> Finding:
    reason = unreachable(url)
    if reason:
        return problem(
            f"{path}: missing, and {url} cannot be reached ({reason}); download that address elsewhere and "
            f"put the file at {path}{hint}"
        )
    return warning(f"{path}: not there yet; it will be downloaded from {url}")
