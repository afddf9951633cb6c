"""How the weights of `vit_demo` were made: a small SAM learns to segment whatever texture the
points lie on.

The scenes (`demo.scenes`) are class-agnostic and hold neither tissue nor tumour. Only mask token 0,
the one that EP-SAM uses, is trained; the three "multimask" tokens and the head that predicts IoU
keep their random start. No user needs to run this: the weights come with the repository.
"""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

# Before the packages: it says in one line if one of them is missing.
import epsam  # noqa: F401

# isort: split
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
from epsam.core.output_folders import check_output_file
from epsam.core.seeding import seed_for
from epsam.segment.sam.models import build_sam, load_sam
from epsam.segment.sam.specs import SPECS

SAM_NAME = "vit_demo"
HELD_OUT_BATCHES, HELD_OUT_POINTS, HELD_OUT_INKED = 8, 50, 0.65
MAX_GRADIENT_NORM = 1.0
REPORT_EVERY = 50
TEACHER_LR_FACTOR = 10.0
"""The teacher has two scalars only, which have far to go."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """Which networks learn together, for how many steps, at what largest learning rate, and what
    fraction of the scenes is in two inks.

    `regions`: the encoder also learns to tell all regions of a scene apart.
    """

    name: str
    encoder: bool
    decoder: bool
    steps: int
    lr: float
    inked_fraction: float = 0.0
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
    start_files = [Path(options.start)] if options.start else []
    check_output_file(Path(options.output), start_files, "--output")
    torch.manual_seed(seed_for(options.seed, "pretrain", "weights"))
    sam = load_sam(SAM_NAME, Path(options.start)) if options.start else prime(build_sam(SAM_NAME))
    held_out = []
    for number in range(HELD_OUT_BATCHES):
        held_out.append(
            _draw_phase_batch(options, "held out", number, HELD_OUT_POINTS, HELD_OUT_INKED)
        )

    for phase in phases_from(options.first_phase):
        _fit_phase(sam.train(), Prototypes(), options, phase)
        dice, iou = held_out_scores(sam, held_out)
        log.info(
            "held out: Dice %.4f  IoU %.4f over %d targets with %d points each",
            dice,
            iou,
            sum(len(batch.targets) for batch in held_out),
            HELD_OUT_POINTS,
        )
        # Half precision keeps the file small enough for the repository.
        weights = {key: tensor.detach().half() for key, tensor in sam.state_dict().items()}
        metadata = {**asdict(options), "dice": dice, "iou": iou}
        save_plain(Path(options.output), {"model": weights, "meta": metadata})


def phases_from(first: str) -> tuple[Phase, ...]:
    """The phases from the one of that name on; all of them if it is empty.

    Raises EpsamError if there is none of that name.
    """
    names = [phase.name for phase in PHASES]
    if not first:
        return PHASES
    if first not in names:
        raise EpsamError(
            f"--first_phase: {first!r} is none of the phases; give one of {', '.join(names)}"
        )
    return PHASES[names.index(first) :]


def _fit_phase(sam: Sam, teacher: Prototypes, options: PretrainOptions, phase: Phase) -> None:
    """One phase: AdamW with warm-up and cosine, fresh scenes at every step."""
    sam.image_encoder.requires_grad_(phase.encoder)
    networks = nn.ModuleList()
    if phase.encoder:
        networks.append(sam.image_encoder)
    if phase.decoder:
        networks.extend([sam.prompt_encoder, sam.mask_decoder])
    optimiser = torch.optim.AdamW(
        [
            {"params": networks.parameters(), "weight_decay": options.weight_decay},
            {"params": teacher.parameters(), "weight_decay": 0.0},
        ],
        lr=phase.lr,
    )
    network_group, teacher_group = optimiser.param_groups

    started = time.monotonic()
    losses = []
    for step in range(1, phase.steps + 1):
        lr_factor = _lr_factor(step, phase.steps)
        network_group["lr"] = phase.lr * lr_factor
        teacher_group["lr"] = TEACHER_LR_FACTOR * phase.lr * lr_factor
        batch = _draw_phase_batch(options, phase.name, step, 0, phase.inked_fraction)
        loss = _phase_loss(sam, teacher, batch, phase)
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


def _phase_loss(sam: Sam, teacher: Prototypes, batch: SceneBatch, phase: Phase) -> torch.Tensor:
    """The sum of the losses of the networks that learn in the phase."""
    # bfloat16 where it is faster; losses need float32.
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = sam.image_encoder(batch.images).float()
    losses = []
    if phase.encoder:
        losses.append(mask_loss(teacher(embeddings, batch), batch.targets))
        if phase.regions:
            losses.append(region_loss(embeddings, batch.regions, teacher.scale))
    if phase.decoder:
        with torch.autocast("cpu", torch.bfloat16):
            logits = prompted_logits(sam, embeddings, batch)
        losses.append(mask_loss(logits, batch.targets))
    return torch.stack(losses).sum()


def _draw_phase_batch(
    options: PretrainOptions, purpose: str, number: int, n_points: int, inked_fraction: float
) -> SceneBatch:
    return draw_batch(
        options.seed,
        purpose,
        number,
        options.batch_size,
        options.targets,
        n_points,
        SPECS[SAM_NAME].input_px,
        inked_fraction,
    )


def _lr_factor(step: int, steps: int) -> float:
    """Fraction of the full learning rate: a warm-up over 5 % of the steps, then half a cosine to a
    fiftieth.
    """
    warm_up = min(1.0, step / (0.05 * steps))
    return warm_up * (0.51 + 0.49 * math.cos(math.pi * step / steps))


if __name__ == "__main__":
    run_stage("pretrain_demo_sam", PretrainOptions, main)
