"""Prompt affinity mining (PAM, WeakMedSAM): maps that spread along what SAM sees as one thing.

A grid of single points prompts SAM all over the image; cells that lie in the same of its masks are
near to each other, and the map walks along these affinities.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from epsam.cam.affinity import lattice_offsets, random_walk, transition_probabilities
from epsam.cam.average_refiner import AverageRefiner
from epsam.cam.refiner_sam import load_refiner_sam
from epsam.config.masks import MaskRule
from epsam.core.device import DeviceConfig
from epsam.data.embeddings import EmbeddingStore
from epsam.segment.sam.frames import Points
from epsam.segment.sam.point_decoder import PointDecoder
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.segment.sam.specs import IMAGE

LATTICE = 64
"""Cells of a side of the lattice that the map walks on (released code)."""
PROMPT_CHUNK = 4
"""This project: prompts that are decoded together; more are no faster on a CPU."""


@dataclass(frozen=True)
class PromptAffinity(AverageRefiner):
    """The row `pam`: an average over rotations, then a walk along SAM's affinities.

    Maps of another SAM or walk are made of the stored averages. embedding_folder: where SAM's
    embeddings are cached; None: nowhere.
    """

    embedding_folder: Path | None = None

    def with_cache(self, folder: Path) -> "PromptAffinity":
        """See `EncodingRefiner`."""
        return replace(self, embedding_folder=folder)

    @torch.no_grad()
    def improve(self, images: Tensor, maps: Tensor) -> Tensor:
        """See `StagedRefiner`: maps (B, 64, 64) float32 of maps (B, h, w)."""
        sam = load_refiner_sam(self.rule, images.device)
        segmenter = SamSegmenter(sam, images.shape[-1], 1, DeviceConfig(images.device, None))
        # SAM's frame takes bytes, which the images were read as.
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        shapes = segmenter.backbone.feature_shapes()
        store = EmbeddingStore(self.embedding_folder, segmenter.encode, list(shapes))
        # One pass of the encoder at most for all prompts of an image; the released code makes one
        # for each prompt.
        embeddings = np.stack([store.get(patch)[IMAGE] for patch in pixels])
        return self.walk(sam, torch.from_numpy(embeddings).to(images.device).float(), maps)

    @torch.no_grad()
    def walk(self, sam: Sam, embeddings: Tensor, maps: Tensor) -> Tensor:
        """Maps (B, 64, 64) in 0..1 of maps (B, h, w) and SAM's embeddings (B, C, h', w')."""
        rule = self.rule
        offsets = lattice_offsets(rule.pam_radius)
        points = grid_points(rule.pam_grid, sam.image_encoder.img_size)
        with torch.autocast(device_type=maps.device.type, enabled=False):
            features = []
            for embedding in embeddings:
                features.append(prompt_features(sam, embedding[None], points, rule.pam_map))
            transitions = transition_probabilities(torch.stack(features), offsets, rule.pam_beta)
            cells = F.interpolate(
                maps.float()[:, None], (LATTICE, LATTICE), mode="bilinear", align_corners=False
            )
            return scale_to_range(random_walk(cells[:, 0], transitions, offsets, rule.pam_steps))


def refine_by_prompt_affinity(rule: MaskRule) -> PromptAffinity:
    """The row `pam` of `MAP_REFINERS`."""
    return PromptAffinity(rule)


def grid_points(count: int, side: int) -> Points:
    """The centres of a grid of count × count cells over a square of `side` px: (count², 2) as (x,
    y), row by row.
    """
    # The released code sets the factor of the cell wrongly, and all its points lie in the upper
    # left corner (docs/deviations.md, "Points of PAM").
    centres = (np.arange(count, dtype=np.float32) + 0.5) * side / count
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def prompt_features(sam: Sam, embedding: Tensor, points_xy_sam: Points, combine: str) -> Tensor:
    """What SAM's masks say of the lattice: (C, 64, 64), given an embedding (1, C', h, w) and the
    points (N, 2) in SAM's frame that prompt for one mask each.

    combine: "sum" of the masks' probabilities, C = 1; "stack", C = N.
    """
    decoder = PointDecoder(sam, embedding)
    cells = []
    for start in range(0, len(points_xy_sam), PROMPT_CHUNK):
        chunk = torch.from_numpy(points_xy_sam[start : start + PROMPT_CHUNK]).to(embedding.device)
        probabilities = decoder.decode(chunk).sigmoid()
        cells.append(F.interpolate(probabilities[:, None], (LATTICE, LATTICE), mode="area")[:, 0])
    stacked = torch.cat(cells)
    return stacked.sum(dim=0, keepdim=True) if combine == "sum" else stacked


def scale_to_range(maps: Tensor) -> Tensor:
    """Maps (B, h, w), none below 0, each scaled from its minimum to its maximum: 0..1.

    A constant map stays constant: 1, or 0 if it is 0.
    """
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    # Rounding leaves a constant map with a tiny range, which would be noise at full scale.
    is_constant = high - low <= high * 1e-5
    low = torch.where(is_constant, 0.0, low)
    span = torch.where(high > low, high - low, 1.0)
    return (maps - low) / span
