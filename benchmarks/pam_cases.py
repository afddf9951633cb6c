"""PAM of a 512 px patch at ViT-B's sizes: 64 prompts on an embedding that is there, against the
released code's way of an encoder pass for each of 16 prompts; random weights, as only time is
measured. The shortest of several times counts.
"""

import time
from collections.abc import Callable

import torch
from measure import Comparison
from segment_anything.modeling import Sam

from epsam.cam.pam import PromptAffinity, grid_points
from epsam.config.masks import MaskRule
from epsam.core.device import keep_freed_memory
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam

RELEASED_PROMPTS = 16
REPEATS = 3


def prompt_affinity(device: str) -> Comparison:
    """Seconds of a patch: encoder and decoder for each prompt, and decoder and walk alone."""
    torch.manual_seed(0)
    # As every stage does on a CPU.
    keep_freed_memory(device == "cpu")
    sam = build_sam("vit_b").requires_grad_(False).to(device)
    image = torch.randn(1, 3, 1024, 1024, device=device)
    maps = torch.rand(1, 32, 32, device=device)
    rule = MaskRule(refine="pam")
    with torch.no_grad():
        # One pass warms up, and its embedding is that of our side.
        embedding = sam.image_encoder(image)
        plain = RELEASED_PROMPTS * _seconds(lambda: _encode_and_prompt(sam, image), device, 1)
        refiner = PromptAffinity(rule)
        refiner.walk(sam, embedding, maps)
        started = time.process_time()
        ours = _seconds(lambda: refiner.walk(sam, embedding, maps), device, REPEATS)
        # What other processes take from the cores is not in it.
        processor = (time.process_time() - started) / REPEATS
    return Comparison(
        f"encoder and decoder, {RELEASED_PROMPTS} prompts",
        plain,
        f"cached embedding, {rule.pam_grid**2} prompts",
        ours,
        16.0,
        "s a patch",
        f"3 s on two CPU cores are aimed at; {torch.get_num_threads()} threads, {processor:.1f} s "
        f"of processor time; the plain side is one pass times {RELEASED_PROMPTS}",
    )


def _encode_and_prompt(sam: Sam, image: torch.Tensor) -> torch.Tensor:
    point = torch.from_numpy(grid_points(1, 1024)).to(image.device)
    label = torch.ones(1, 1, device=image.device)
    return decode(sam, sam.image_encoder(image), point[None], label)


def _seconds(call: Callable[[], torch.Tensor], device: str, repeats: int) -> float:
    """The shortest time of the calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
