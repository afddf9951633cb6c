"""How the weights of `vit_demo` were made: a small SAM learns to outline whatever texture the
points lie on.

The scenes (`demo.shapes`) are class-agnostic and hold neither tissue nor tumour outlines. Only mask
token 0, the one that EP-SAM uses, is trained; the three "multimask" tokens and the head that
predicts IoU keep their random start. No user needs to run this: the weights come with the
repository.
"""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from segment_anything.modeling import Sam
from torch import nn

from demo.options import PretrainOptions
from demo.sam_pretraining import (
    Prototypes,
    SceneBatch,
    draw_batch,
    held_out_scores,
    mask_loss,
    prime,
    prompted_logits,
    region_loss,
)
from epsam.config.command_line import run_stage
from epsam.core.checkpoints import save_plain
from epsam.core.errors import EpsamError
from epsam.core.seeding import seed_for
from epsam.segment.sam.models import SPECS, build_sam, load_sam

SAM_NAME = "vit_demo"
HELD_OUT_BATCHES, HELD_OUT_POINTS, HELD_OUT_INKED = 8, 50, 0.65
MAX_GRADIENT_NORM = 1.0
REPORT_EVERY = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """What learns together, for how many steps, how fast at most, and how many of its scenes are in
    two inks.

    `regions`: the encoder is also asked to tell all regions of a scene apart.
    """

    name: str
    encoder: bool
    decoder: bool
    steps: int
    lr: float
    inked_share: float = 0.0
    regions: bool = False


PHASES = (
    Phase("encoder", True, False, 400, 1e-3),
    Phase("decoder", False, True, 900, 5e-4),
    Phase("both", True, True, 900, 5e-4),
    Phase("grains", True, False, 250, 5e-4, 0.65, regions=True),
    Phase("all", True, True, 900, 3e-4, 0.8, regions=True),
)
"""First colours, then grains: a decoder learns to follow prompts only on an encoder that makes it
easy at first.
"""


def main(options: PretrainOptions) -> None:
    """One phase after the other; the file is written after each."""
    torch.manual_seed(seed_for(options.seed, "pretrain", "weights"))
    sam = load_sam(SAM_NAME, Path(options.start)) if options.start else prime(build_sam(SAM_NAME))
    held_out = [
        _draw(options, "held out", number, HELD_OUT_POINTS, HELD_OUT_INKED)
        for number in range(HELD_OUT_BATCHES)
    ]
    for phase in phases_from(options.first_phase):
        _fit(sam.train(), Prototypes(), options, phase)
        dice, iou = held_out_scores(sam, held_out)
        log.info(
            "held out: Dice %.4f  IoU %.4f over %d targets with %d points each",
            dice,
            iou,
            sum(len(batch.targets) for batch in held_out),
            HELD_OUT_POINTS,
        )
        weights = {key: tensor.detach().half() for key, tensor in sam.state_dict().items()}
        save_plain(
            Path(options.output),
            {"model": weights, "meta": {**asdict(options), "dice": dice, "iou": iou}},
        )


def phases_from(first: str) -> tuple[Phase, ...]:
    """The phases from the one of that name on; all of them if it is empty.

    Raises EpsamError if there is none of that name.
    """
    names = [phase.name for phase in PHASES]
    if first and first not in names:
        raise EpsamError(
            f"--first_phase: {first!r} is none of the phases; give one of {', '.join(names)}"
        )
    return PHASES[names.index(first) if first else 0 :]


def _fit(sam: Sam, teacher: Prototypes, options: PretrainOptions, phase: Phase) -> None:
    """One phase: AdamW with warm-up and cosine, fresh scenes at every step, in bfloat16 where it
    helps.
    """
    sam.image_encoder.requires_grad_(phase.encoder)
    networks = nn.ModuleList(
        ([sam.image_encoder] if phase.encoder else [])
        + ([sam.prompt_encoder, sam.mask_decoder] if phase.decoder else [])
    )
    optimiser = torch.optim.AdamW(
        [
            {"params": networks.parameters(), "share": 1.0, "weight_decay": options.weight_decay},
            {"params": teacher.parameters(), "share": 10.0, "weight_decay": 0.0},
        ],
        lr=phase.lr,
    )
    started, losses = time.monotonic(), []
    for step in range(1, phase.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * phase.lr * _rate(step, phase.steps)
        loss = _loss(sam, teacher, _draw(options, phase.name, step, 0, phase.inked_share), phase)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(networks.parameters(), MAX_GRADIENT_NORM)
        optimiser.step()
        losses.append(float(loss.detach()))
        if step % REPORT_EVERY == 0 or step == phase.steps:
            recent = losses[-REPORT_EVERY:]
            log.info(
                "%s %d/%d  loss %.3f  %.0f s",
                phase.name,
                step,
                phase.steps,
                sum(recent) / len(recent),
                time.monotonic() - started,
            )


def _loss(sam: Sam, teacher: Prototypes, batch: SceneBatch, phase: Phase) -> torch.Tensor:
    """The sum of what the phase's networks are asked for."""
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = sam.image_encoder(batch.images).float()
    parts = []
    if phase.encoder:
        parts.append(mask_loss(teacher(embeddings, batch), batch.targets))
        if phase.regions:
            parts.append(region_loss(embeddings, batch.regions, teacher.scale))
    if phase.decoder:
        with torch.autocast("cpu", torch.bfloat16):
            logits = prompted_logits(sam, embeddings, batch)
        parts.append(mask_loss(logits, batch.targets))
    return torch.stack(parts).sum()


def _draw(
    options: PretrainOptions, purpose: str, number: int, count: int, inked_share: float
) -> SceneBatch:
    return draw_batch(
        options.seed,
        purpose,
        number,
        options.batch_size,
        options.targets,
        count,
        SPECS[SAM_NAME].input_px,
        inked_share,
    )


def _rate(step: int, steps: int) -> float:
    """Share of the full learning rate: a warm-up over 5 % of the steps, then half a cosine to a
    fiftieth.
    """
    return min(1.0, step / (0.05 * steps)) * (0.51 + 0.49 * math.cos(math.pi * step / steps))


if __name__ == "__main__":
    run_stage("pretrain_demo_sam", PretrainOptions, main)
