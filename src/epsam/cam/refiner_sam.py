"""The SAM of a map refiner that needs one: which, where its weights are, and the network.

A rule that is stored holds all three: name, file and checksum. PyTorch is imported only where the
network is loaded.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from epsam.config.masks import MaskRule
from epsam.core.errors import WeightsError
from epsam.core.files import sha256_of
from epsam.methods import SAM_REFINERS
from epsam.segment.sam.map_sam import find_map_sam
from epsam.segment.sam.specs import SPECS

if TYPE_CHECKING:
    from segment_anything.modeling import Sam
    from torch import device as Device

Rule = TypeVar("Rule", bound=MaskRule)

MAP_SAM_FILE = "map_sam_checkpoint"
"""Field of a stored rule: the file of its refiner's SAM on the machine of training."""


def uses_sam(rule: MaskRule) -> bool:
    """Whether the rule's refiner needs a SAM."""
    return rule.refine in SAM_REFINERS


def resolve_refiner_sam(rule: Rule, dataset_type: str, folder: Path) -> Rule:
    """The rule with name, file and checksum of its refiner's SAM; without any if it needs none.

    Raises WeightsError if the file is missing, or is another one than --refiner_sam_sha256 says.
    """
    if not uses_sam(rule):
        return replace(rule, map_sam="", map_sam_checkpoint="", refiner_sam_sha256="")
    name, path = find_map_sam(rule, dataset_type, folder)
    checksum = sha256_of(path)
    if rule.refiner_sam_sha256 not in ("", checksum):
        raise WeightsError(
            f"{path}: has another SHA-256 than --refiner_sam_sha256; give the file that has it by "
            "--map_sam_checkpoint"
        )
    return replace(
        rule, map_sam=name, map_sam_checkpoint=str(path.resolve()), refiner_sam_sha256=checksum
    )


def locate_refiner_sam(rule: Rule, places: Sequence[Path]) -> Rule:
    """A stored rule with the file of its refiner's SAM as it is here: that of training, else the
    first of `places`, files or folders of the official ones, that has its checksum.

    Raises WeightsError if there is none.
    """
    if not uses_sam(rule):
        return rule
    official = SPECS[rule.map_sam].file
    # A decoder holds the rule without the file of its training.
    trained_with = [Path(rule.map_sam_checkpoint)] if rule.map_sam_checkpoint else []
    for place in (*trained_with, *places):
        path = place / official if place.is_dir() else place
        if path.is_file() and sha256_of(path) == rule.refiner_sam_sha256:
            return replace(rule, map_sam_checkpoint=str(path))
    raise WeightsError(
        f"{rule.map_sam_checkpoint or official}: missing, or not the weights of {rule.map_sam} "
        "that the masks were made with; put them back, or make the masks again by "
        "generate_initial_masks.py"
    )


def load_refiner_sam(rule: MaskRule, device: "Device") -> "Sam":
    """The frozen network of a rule's SAM on a device. Raises WeightsError if none is named."""
    if not rule.map_sam or not rule.map_sam_checkpoint:
        raise WeightsError(
            f"--refine {rule.refine}: no SAM named; give --map_sam and --map_sam_checkpoint"
        )
    return _load(rule.map_sam, rule.map_sam_checkpoint, rule.refiner_sam_sha256, device)


# A refiner is built for each batch of images; its SAM stays.
@lru_cache(maxsize=1)
def _load(name: str, path: str, checksum: str, device: "Device") -> "Sam":
    from epsam.segment.sam.models import load_sam

    if checksum and sha256_of(Path(path)) != checksum:
        raise WeightsError(f"{path}: changed since the masks were made; put the old file back")
    return load_sam(name, Path(path)).requires_grad_(False).to(device)
