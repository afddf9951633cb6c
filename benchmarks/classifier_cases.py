"""Benchmarks of the ResNet50 classifier, with random weights on noise: class activation maps and a
training step.
"""

import copy
from contextlib import AbstractContextManager, nullcontext

import torch
from measure import Comparison, check_close, in_turns

from epsam.cam.rotation import rotation_averaged_cam
from epsam.core.device import select_device
from epsam.weak.fast_inference import optimise_for_inference
from epsam.weak.resnet import NetworkSpec, build_classifier

PATCH_PX, PATCHES, ROTATIONS = 512, 4, 4


def activation_maps(device: str, precision: str = "auto") -> Comparison:
    """Class activation maps of four 512 px patches in four rotations each.

    Plain: one forward pass for each rotation, in fp32 and torch's own memory order. Ours: one pass
    for all, as the stage runs it.
    """
    torch.manual_seed(0)
    device_config = select_device(device, precision)
    trained = build_classifier(NetworkSpec()).to(device).eval()
    plain_model = copy.deepcopy(trained).to(memory_format=torch.contiguous_format)
    optimised = optimise_for_inference(trained, device_config)
    images = torch.rand(PATCHES, 3, PATCH_PX, PATCH_PX, device=device)

    def one_by_one() -> None:
        with torch.no_grad():
            for image in images:
                for turn in range(ROTATIONS):
                    rotated = torch.rot90(image[None], turn, dims=(-2, -1))
                    torch.rot90(plain_model.cam(rotated), -turn, dims=(-2, -1))

    def together() -> None:
        with device_config.autocast():
            rotation_averaged_cam(optimised, images, ROTATIONS)

    with device_config.autocast():
        _, plain_maps = rotation_averaged_cam(trained, images[:1], ROTATIONS)
        _, our_maps = rotation_averaged_cam(optimised, images[:1], ROTATIONS)
    # Half precision rounds to about three digits.
    tolerance = 1e-4 if device_config.autocast_dtype is None else 0.1
    check_close("activation maps", plain_maps, our_maps, tolerance)

    plain, ours = in_turns(one_by_one, together, device, 3, stock=True)
    arithmetic = "" if precision == "auto" else f", {precision}"
    return Comparison(
        "one rotation at a time",
        plain / PATCHES,
        f"batched{arithmetic}",
        ours / PATCHES,
        5.0 if device == "cuda" else 1.4,
        "s a patch",
    )


def training_step(device: str) -> Comparison:
    """Forward and backward pass of the classifier on 512 px patches.

    Plain: fp32 in torch's own memory order. Ours: as the stage runs it.
    """
    torch.manual_seed(0)
    device_config = select_device(device, "auto")
    count = 16 if device == "cuda" else 2
    ours = build_classifier(NetworkSpec()).to(device).train()
    plain = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    images = torch.rand(count, 3, PATCH_PX, PATCH_PX, device=device)

    def run_step(model: torch.nn.Module, context: AbstractContextManager[None]) -> None:
        with context:
            logits = model(images)
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(logits.float().sum())

    before, after = in_turns(
        lambda: run_step(plain, nullcontext()),
        lambda: run_step(ours, device_config.autocast()),
        device,
        3,
        stock=True,
    )
    return Comparison(
        "fp32, torch's order",
        before / count,
        "as the stage runs it",
        after / count,
        1.0,
        "s an image",
        f"{count} images a step",
    )
