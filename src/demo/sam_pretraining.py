"""How a small SAM learns to follow prompts from nothing, on class-agnostic scenes and in minutes on
a CPU.

A SAM that starts at random does not learn prompts in any reasonable time: points mean nothing to
the decoder, so it calls everything or nothing foreground. Two things break that. The encoder first
learns alone, from prototypes: a pixel belongs to the target if its embedding is like the mean
embedding under the points, and to a region if it is more like that region's mean than like the
others'. And the decoder's attention starts as a smoother (`prime`), so that points and pixels
attend to each other from the first step on. All of it is this project's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from demo.scenes import MAX_POINTS, draw_points, draw_scene
from epsam.core.seeding import generator
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.mask_decoder import decode

ATTENTION_GAIN = 1.4
POINT_SCALE = 0.5
POINT_HANDICAP = 3.5


@dataclass(frozen=True)
class SceneBatch:
    """images (B, 3, side, side), SAM's input, and what region each pixel is of (B, side, side); for
    each target: its image's index (T,), points (T, N, 2) as (x, y) px, labels (T, N) of 1 and,
    where there are fewer points, −1, and the target (T, side, side) of 0 and 1.
    """

    images: Tensor
    regions: Tensor
    index: Tensor
    points_xy: Tensor
    labels: Tensor
    targets: Tensor


def draw_batch(
    seed: int,
    purpose: str,
    number: int,
    n_scenes: int,
    n_targets: int,
    n_points: int,
    side: int,
    inked_fraction: float = 0.0,
) -> SceneBatch:
    """Batch `number` of a purpose: scenes, of which `inked_fraction` on average are in two inks,
    targets of each, and `n_points` points for each target (0: any of 1 to 50).
    """
    rng = generator(seed, "pretrain", purpose, number)
    frame = SamFrame(side, side)
    scenes = []
    for k in range(n_scenes):
        scenes.append(draw_scene(seed, purpose, number * n_scenes + k, side, inked_fraction))

    # All targets before all points: the draws depend on this order.
    masks = []
    for scene in scenes:
        for target in rng.choice(scene.targets(), n_targets):
            masks.append(scene.regions == target)

    points = np.zeros((len(masks), MAX_POINTS, 2), np.float32)
    labels = np.full((len(masks), MAX_POINTS), -1)
    for row, mask in enumerate(masks):
        prompt = draw_points(mask, rng, n_points)
        points[row, : len(prompt)] = prompt
        labels[row, : len(prompt)] = 1

    return SceneBatch(
        torch.stack([frame.to_sam_image(scene.image) for scene in scenes]),
        torch.from_numpy(np.stack([scene.regions for scene in scenes]).astype(np.int64)),
        torch.arange(n_scenes).repeat_interleave(n_targets),
        torch.from_numpy(points),
        torch.from_numpy(labels),
        torch.from_numpy(np.stack(masks).astype(np.float32)),
    )


class Prototypes(nn.Module):
    """The encoder's first teacher: likeness to the mean embedding under the points, with a learnt
    scale and border.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(15.0))
        self.border = nn.Parameter(torch.tensor(0.6))

    def forward(self, embeddings: Tensor, batch: SceneBatch) -> Tensor:
        """Logits (T, side, side) for embeddings (B, C, h, w) of the batch's images."""
        side = batch.targets.shape[-1]
        directions = F.normalize(embeddings, dim=1)[batch.index]

        # grid_sample counts the frame from −1 to 1.
        grid = (batch.points_xy / side * 2 - 1)[:, :, None]
        under_points = F.grid_sample(directions, grid, align_corners=False)[..., 0]
        is_point = (batch.labels > 0).to(under_points)[:, None]
        prototype = F.normalize((under_points * is_point).sum(dim=2), dim=1)

        likeness = torch.einsum("tchw,tc->thw", directions, prototype)
        logits = ((likeness - self.border) * self.scale)[:, None]
        upscaled = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        return upscaled[:, 0]


def region_loss(embeddings: Tensor, regions: Tensor, scale: Tensor) -> Tensor:
    """How poorly the mean embeddings of a scene's regions predict the region of each token: a
    scalar cross-entropy.

    embeddings (B, C, h, w), regions (B, side, side). A token that lies across a border belongs to
    each region by its fraction; every region of a scene counts alike.
    """
    height, width = embeddings.shape[-2:]
    one_hot = F.one_hot(regions).movedim(-1, 1).float()
    fractions = F.adaptive_avg_pool2d(one_hot, (height, width))
    directions = F.normalize(embeddings, dim=1)
    sizes = fractions.sum(dim=(2, 3))
    prototypes = F.normalize(torch.einsum("bkhw,bchw->bkc", fractions, directions), dim=2)
    likeness = torch.einsum("bkc,bchw->bkhw", prototypes, directions) * scale

    # Scenes of fewer regions than others in the batch: the missing ones neither attract tokens nor
    # count.
    is_absent = sizes == 0
    absent_maps = is_absent[:, :, None, None]
    log_probability = likeness.masked_fill(absent_maps, -torch.inf).log_softmax(dim=1)
    log_likelihood = fractions * log_probability.masked_fill(absent_maps, 0)
    losses = -log_likelihood.sum(dim=(2, 3)) / sizes.clamp(min=1e-6)
    return losses[~is_absent].mean()


def prompted_logits(sam: Sam, embeddings: Tensor, batch: SceneBatch) -> Tensor:
    """The decoder's logits (T, side, side) for embeddings (B, C, h, w) of the batch's images."""
    side = batch.targets.shape[-1]
    low_res = decode(sam, embeddings[batch.index], batch.points_xy, batch.labels)
    return SamFrame(side, side).to_patch_logits(low_res.float())


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice loss, means over targets (T, side, side): a scalar."""
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(dim=(1, 2))
    total = probability.sum(dim=(1, 2)) + targets.sum(dim=(1, 2))
    # Adding one pixel to both keeps the loss defined for an empty target.
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, targets) + dice.mean()


def prime(sam: Sam) -> Sam:
    """Start the decoder's attention as a smoother. Returns `sam`.

    Query and key projections are equal, and the output projection undoes the value projection: a
    token reads what is at its own position. A pixel attends to a point only if the two match, and
    otherwise to the decoder's own tokens.
    """
    label = sam.prompt_encoder.point_embeddings[1].weight
    with torch.no_grad():
        for embedding in sam.prompt_encoder.point_embeddings:
            embedding.weight.mul_(POINT_SCALE)
        for module in sam.mask_decoder.transformer.modules():
            if isinstance(module, Attention):
                _prime_as_smoother(module)

        # The bias lowers what every pixel scores against a positive point by the same amount.
        for layer in sam.mask_decoder.transformer.layers:
            attention = layer.cross_attn_image_to_token
            key = attention.k_proj(label)[0]
            width = attention.internal_dim / attention.num_heads
            handicap = -POINT_HANDICAP * key / key.square().sum() * attention.num_heads * width**0.5
            attention.q_proj.bias.copy_(handicap)
    return sam


def _prime_as_smoother(attention: Attention) -> None:
    nn.init.orthogonal_(attention.k_proj.weight, ATTENTION_GAIN)
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.q_proj.weight.copy_(attention.k_proj.weight)
    attention.out_proj.weight.copy_(attention.v_proj.weight.T)
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        nn.init.zeros_(linear.bias)


@torch.no_grad()
def held_out_scores(sam: Sam, batches: Sequence[SceneBatch]) -> tuple[float, float]:
    """Mean Dice and IoU of the decoder over the targets of scenes that training never draws."""
    sam.eval()
    overlaps, totals = [], []
    for batch in batches:
        predicted = prompted_logits(sam, sam.image_encoder(batch.images), batch) > 0
        overlap = (predicted & (batch.targets > 0)).sum(dim=(1, 2))
        total = predicted.sum(dim=(1, 2)) + batch.targets.sum(dim=(1, 2))
        overlaps.append(overlap.double())
        totals.append(total.double())
    sam.train()

    overlap, total = torch.cat(overlaps), torch.cat(totals)
    dice = 2 * overlap / total
    iou = overlap / (total - overlap)
    return float(dice.mean()), float(iou.mean())
