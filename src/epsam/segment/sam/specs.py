"""Sizes and weights' files of the Segment Anything networks, without the networks: PyTorch is not
imported.

Source of the sizes and addresses: the registry and the README of Meta's `segment_anything` package.
`vit_demo` is this project's: the same classes, small enough for a CPU. It is no SAM ViT-B.
`vit_small` is the same network with the same weights, and a decoder that also reads the image
(`detail`): that branch is new, and adds nothing before it is trained.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from epsam.core.downloads import download
from epsam.core.errors import WeightsError

FeatureShapes = Mapping[str, tuple[int, ...]]
"""The shapes of one image's features, by name."""

PixelScaling = Literal["sam", "minmax"]
SAM_PIXELS: PixelScaling = "sam"
"""RGB in 0–255, normalised by SAM's mean and standard deviation."""
MINMAX_PIXELS: PixelScaling = "minmax"
"""Each image scaled to 0..1 by its lowest and highest value, as MedSAM's encoder was trained."""
IMAGE = "image"
"""Name of SAM's own feature, its image embedding."""
PIXELS = "pixels"
"""Name of the feature that is the normalised image itself, for a decoder that reads it."""
PROMPT_DIM = 256
FP16_BYTES = 2
OFFICIAL_SITE = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class SamSpec:
    """The sizes of an image encoder, in pixels of SAM's input, and the file of its weights."""

    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    file: str
    sha256: str = ""
    input_px: int = 1024
    token_px: int = 16
    window: int = 14
    reads_pixels: bool = False
    """Whether its decoder reads the image, too (`detail`)."""

    @property
    def grid(self) -> int:
        """Side of the embedding, in tokens."""
        return self.input_px // self.token_px

    def feature_shapes(self) -> FeatureShapes:
        """The shapes of one image's features, before any weights are loaded."""
        embedding = {IMAGE: (PROMPT_DIM, self.grid, self.grid)}
        if not self.reads_pixels:
            return embedding
        return {**embedding, PIXELS: (3, self.input_px, self.input_px)}

    @property
    def url(self) -> str:
        """Official address of the weights; "" if they come with this repository."""
        return OFFICIAL_SITE + self.file if self.sha256 else ""


_VIT_DEMO = SamSpec(160, 6, 5, (2, 5), "sam_vit_demo.pth", input_px=256, token_px=8, window=8)

SPECS = {
    "vit_b": SamSpec(
        768,
        12,
        12,
        (2, 5, 8, 11),
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": SamSpec(
        1024,
        24,
        16,
        (5, 11, 17, 23),
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": SamSpec(
        1280,
        32,
        16,
        (7, 15, 23, 31),
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "vit_demo": _VIT_DEMO,
    "vit_small": replace(_VIT_DEMO, reads_pixels=True),
}


MEDSAM_FILE = "medsam_vit_b.pth"
MEDSAM_SITE = "https://github.com/bowang-lab/MedSAM"


def count_feature_bytes(shapes: FeatureShapes) -> int:
    """Bytes of one image's features in float16, as the cache stores them."""
    return FP16_BYTES * sum(math.prod(shape) for shape in shapes.values())


def find_checkpoint(name: str, checkpoint: str, folder: Path) -> Path:
    """The file of weights: `checkpoint`, or if that is "" the official file in `folder`, downloaded
    if absent.

    Raises WeightsError if `checkpoint` does not exist, or if the official file is absent and cannot
    be downloaded.
    """
    spec = SPECS[name]
    path = Path(checkpoint) if checkpoint else folder / spec.file
    if path.is_file():
        return path
    if checkpoint:
        raise WeightsError(f"{path}: no such file; correct --sam_checkpoint or leave it out")
    if not spec.url:
        raise WeightsError(
            f"{path}: missing, though the weights of {name} come with this repository; "
            "restore the file or make it again with src/pretrain_demo_sam.py"
        )
    download(spec.url, spec.sha256, path)
    return path


def find_medsam_checkpoint(checkpoint: str, folder: Path) -> Path:
    """The file of MedSAM's weights: `checkpoint`, or if that is "" its own file in `folder`.

    Raises WeightsError if it is absent: MedSAM's site has no address that a program could fetch.
    """
    path = Path(checkpoint) if checkpoint else folder / MEDSAM_FILE
    if path.is_file():
        return path
    if checkpoint:
        raise WeightsError(f"{path}: no such file; correct --sam_checkpoint or leave it out")
    raise WeightsError(
        f"{path}: MedSAM's weights are missing; download {MEDSAM_FILE} by the links of "
        f"{MEDSAM_SITE} and put it there"
    )
