"""How the weights of `vit_demo` were made: a small SAM learns to outline whatever texture the points lie on.

The scenes (`epsam.synthetic.shapes`) are class-agnostic and hold neither tissue nor tumour outlines. Only mask token 0,
the one that EP-SAM uses, is trained; the three "multimask" tokens and the head that predicts IoU keep their random
start. No user needs to run this: the weights come with the repository.
"""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from segment_anything.modeling import Sam
from torch import nn

from command_line import run_stage
from epsam.checkpoints import save_plain
from epsam.options import PretrainOptions
from epsam.randomness import seed_for
from epsam.sam.models import SPECS, build_sam
from epsam.training.pretraining import (
    Prototypes,
    SceneBatch,
    draw_batch,
    held_out_scores,
    mask_loss,
    prime,
    prompted_logits,
)

SAM_NAME = "vit_demo"
HELD_OUT_BATCHES, HELD_OUT_POINTS = 8, 50
MAX_GRADIENT_NORM = 1.0
REPORT_EVERY = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """What learns together, for how long, and how fast at most."""

    name: str
    encoder: bool
    decoder: bool
    steps: int
    lr: float


def main(options: PretrainOptions) -> None:
    """The encoder by prototypes, the decoder on what it then sees, and both together; the file is written each time."""
    torch.manual_seed(seed_for(options.seed, "pretrain", "weights"))
    sam, teacher = prime(build_sam(SAM_NAME)).train(), Prototypes()
    held_out = [_draw(options, "held out", number, HELD_OUT_POINTS) for number in range(HELD_OUT_BATCHES)]
    for phase in (Phase("encoder", True, False, options.encoder_steps, options.encoder_lr),
                  Phase("decoder", False, True, options.decoder_steps, options.decoder_lr),
                  Phase("both", True, True, options.steps, options.lr)):
        _fit(sam, teacher, options, phase)
        dice, iou = held_out_scores(sam, held_out)
        log.info("held out: Dice %.4f  IoU %.4f over %d targets with %d points each", dice, iou,
                 sum(len(batch.targets) for batch in held_out), HELD_OUT_POINTS)
        weights = {key: tensor.detach().half() for key, tensor in sam.state_dict().items()}
        save_plain(Path(options.output), {"model": weights, "meta": {**asdict(options), "dice": dice, "iou": iou}})


def _fit(sam: Sam, teacher: Prototypes, options: PretrainOptions, phase: Phase) -> None:
    """One phase: AdamW with warm-up and cosine, fresh scenes at every step, in bfloat16 where it helps."""
    sam.image_encoder.requires_grad_(phase.encoder)
    networks = nn.ModuleList(([sam.image_encoder] if phase.encoder else []) +
                             ([sam.prompt_encoder, sam.mask_decoder] if phase.decoder else []))
    optimiser = torch.optim.AdamW([
        {"params": networks.parameters(), "share": 1.0, "weight_decay": options.weight_decay},
        {"params": teacher.parameters(), "share": 10.0, "weight_decay": 0.0},
    ], lr=phase.lr)
    started, losses = time.monotonic(), []
    for step in range(1, phase.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * phase.lr * _rate(step, phase.steps)
        loss = _loss(sam, teacher, _draw(options, phase.name, step, 0), phase)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(networks.parameters(), MAX_GRADIENT_NORM)
        optimiser.step()
        losses.append(float(loss.detach()))
        if step % REPORT_EVERY == 0 or step == phase.steps:
            recent = losses[-REPORT_EVERY:]
            log.info("%s %d/%d  loss %.3f  %.0f s", phase.name, step, phase.steps, sum(recent) / len(recent),
                     time.monotonic() - started)


def _loss(sam: Sam, teacher: Prototypes, batch: SceneBatch, phase: Phase) -> torch.Tensor:
    """The sum of what the phase's networks are asked for."""
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = sam.image_encoder(batch.images).float()
    parts = []
    if phase.encoder:
        parts.append(mask_loss(teacher(embeddings, batch), batch.targets))
    if phase.decoder:
        with torch.autocast("cpu", torch.bfloat16):
            logits = prompted_logits(sam, embeddings, batch)
        parts.append(mask_loss(logits, batch.targets))
    return torch.stack(parts).sum()


def _draw(options: PretrainOptions, purpose: str, number: int, count: int) -> SceneBatch:
    return draw_batch(options.seed, purpose, number, options.batch_size, options.targets, count,
                      SPECS[SAM_NAME].input_px)


def _rate(step: int, steps: int) -> float:
    """Share of the full learning rate: a warm-up over 5 % of the steps, then half a cosine to a fiftieth."""
    return min(1.0, step / (0.05 * steps)) * (0.51 + 0.49 * math.cos(math.pi * step / steps))


if __name__ == "__main__":
    run_stage("pretrain_demo_sam", PretrainOptions, main)
