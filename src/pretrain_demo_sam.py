"""How the weights of `vit_demo` were made: a small SAM learns to outline whatever texture the points lie on.

Encoder, prompt encoder and decoder learn together, on class-agnostic scenes (`epsam.synthetic.shapes`) that hold
neither tissue nor tumour outlines. Only mask token 0, the one that EP-SAM uses, is trained; the outputs of the three
"multimask" tokens and the head that predicts IoU keep their random start. No user needs to run this: the weights come
with the repository.
"""

import logging
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from command_line import run_stage
from epsam.checkpoints import save_plain
from epsam.device import pick_compute
from epsam.options import PretrainOptions
from epsam.randomness import generator, seed_for
from epsam.sam.decoder import decode
from epsam.sam.frames import SamFrame
from epsam.sam.models import SPECS, build_sam
from epsam.synthetic.shapes import MAX_POINTS, draw_points, draw_scene

SAM_NAME = "vit_demo"
WARM_UP_SHARE = 0.05
HELD_OUT_SCENES = 32
HELD_OUT_CHUNK = 8
MAX_GRADIENT_NORM = 1.0
ATTENTION_GAIN = 1.4
POINT_SCALE = 0.5
POINT_HANDICAP = 3.5

log = logging.getLogger(__name__)


def main(options: PretrainOptions) -> None:
    """Train on fresh scenes each step; keep the weights at every evaluation."""
    device = pick_compute(options.device, "fp32").device
    torch.manual_seed(seed_for(options.seed, "pretrain", "weights"))
    sam = prime(build_sam(SAM_NAME)).to(device).train()
    optimizer = torch.optim.AdamW(sam.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, options.steps))
    started, losses = time.monotonic(), []
    for step in range(1, options.steps + 1):
        loss = _loss(sam, _batch(options, "train", step, count=0), device)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(sam.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % options.eval_every == 0 or step == options.steps:
            dice, iou = held_out_scores(sam, options, device)
            log.info("step %d/%d  loss %.3f  held-out dice %.3f  iou %.3f  %.0f s", step, options.steps,
                     np.mean(losses), dice, iou, time.monotonic() - started)
            _save(sam, Path(options.output), {**asdict(options), "step": step, "dice": dice, "iou": iou})
            losses.clear()


def prime(sam: Sam) -> Sam:
    """Start the decoder's attention as a smoother, so that points and pixels find each other from the first step on.

    Query and key projections are equal, and the output projection undoes the value projection: a token reads what is at
    its own place. A pixel looks at a point only if the two match, and otherwise at the decoder's own tokens.
    """
    label = sam.prompt_encoder.point_embeddings[1].weight
    with torch.no_grad():
        for embedding in sam.prompt_encoder.point_embeddings:
            embedding.weight.mul_(POINT_SCALE)
        for module in sam.mask_decoder.transformer.modules():
            if isinstance(module, Attention):
                _smoother(module)
        for layer in sam.mask_decoder.transformer.layers:
            attention = layer.cross_attn_image_to_token
            key = attention.k_proj(label)[0]
            width = attention.internal_dim / attention.num_heads
            attention.q_proj.bias.copy_(-POINT_HANDICAP * key / key.square().sum() * attention.num_heads * width**0.5)
    return sam


def _smoother(attention: Attention) -> None:
    nn.init.orthogonal_(attention.k_proj.weight, ATTENTION_GAIN)
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.q_proj.weight.copy_(attention.k_proj.weight)
    attention.out_proj.weight.copy_(attention.v_proj.weight.T)
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        nn.init.zeros_(linear.bias)


def lr_factor(step: int, steps: int) -> float:
    """Share of the full learning rate at a step: a linear warm-up over 5 % of the steps, then a half cosine to 0."""
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))


def held_out_scores(sam: Sam, options: PretrainOptions, device: torch.device) -> tuple[float, float]:
    """Mean Dice and IoU over the targets of scenes that training never draws, with 50 points each."""
    scores = []
    sam.eval()
    for number in range(HELD_OUT_SCENES // HELD_OUT_CHUNK):
        images, points, labels, targets = _batch(options, "held out", number, count=MAX_POINTS, images=HELD_OUT_CHUNK)
        with torch.no_grad():
            predicted = (_logits(sam, images.to(device), points.to(device), labels.to(device)) > 0).cpu()
        both = (predicted & (targets > 0)).sum((1, 2)).float()
        total = predicted.sum((1, 2)) + targets.sum((1, 2))
        scores.append(torch.stack([2 * both / total, both / (total - both)]))
    sam.train()
    dice, iou = torch.cat(scores, dim=1).mean(dim=1).tolist()
    return dice, iou


Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""images (B, 3, 256, 256) as 0..255; points (B·T, N, 2) as (x, y) px; labels (B·T, N), -1 where a row has fewer points;
targets (B·T, 256, 256) of 0 and 1."""


def _batch(options: PretrainOptions, purpose: str, number: int, count: int, images: int = 0) -> Batch:
    """Batch `number` of a purpose: scenes, and for each scene several targets with their prompts."""
    size = images or options.batch_size
    rng = generator(options.seed, "pretrain", purpose, number)
    scenes = [draw_scene(options.seed, purpose, number * size + k, SPECS[SAM_NAME].input_px) for k in range(size)]
    masks = [scene.regions == target for scene in scenes for target in rng.choice(scene.targets(), options.targets)]
    prompts = [draw_points(mask, rng, count) for mask in masks]
    points = np.zeros((len(masks), MAX_POINTS, 2), np.float32)
    labels = np.full((len(masks), MAX_POINTS), -1, np.float32)
    for row, prompt in enumerate(prompts):
        points[row, : len(prompt)], labels[row, : len(prompt)] = prompt, 1
    pixels = np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2).astype(np.float32)
    return (torch.from_numpy(pixels), torch.from_numpy(points), torch.from_numpy(labels),
            torch.from_numpy(np.stack(masks).astype(np.float32)))


def _loss(sam: Sam, batch: Batch, device: torch.device) -> Tensor:
    """Binary cross-entropy plus soft Dice loss per target, averaged."""
    images, points, labels, targets = (tensor.to(device) for tensor in batch)
    # bfloat16 halves the time of a step on processors that know it; the loss itself stays in float32.
    with torch.autocast(device.type, torch.bfloat16):
        logits = _logits(sam, images, points, labels)
    logits = logits.float()
    share = logits.sigmoid()
    overlap = 2 * (share * targets).sum((1, 2)) + 1
    dice = 1 - overlap / (share.sum((1, 2)) + targets.sum((1, 2)) + 1)
    return F.binary_cross_entropy_with_logits(logits, targets) + dice.mean()


def _logits(sam: Sam, images: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Mask logits (B·T, 256, 256) of mask token 0."""
    embeddings = sam.image_encoder((images - sam.pixel_mean) / sam.pixel_std)
    embeddings = embeddings.repeat_interleave(len(points) // len(images), dim=0)
    return SamFrame(images.shape[-1], images.shape[-1]).masks(decode(sam, embeddings, points, labels).float())


def _save(sam: Sam, target: Path, meta: dict[str, object]) -> None:
    weights = {key: tensor.detach().half().cpu() for key, tensor in sam.state_dict().items()}
    save_plain(target, {"model": weights, "meta": meta})


if __name__ == "__main__":
    run_stage("pretrain_demo_sam", PretrainOptions, main)
