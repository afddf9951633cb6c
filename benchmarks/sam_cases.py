"""Encoder, decoder and their training step at ViT-B's sizes; random weights and noise, as only time
is measured.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Comparison, check_close, in_turns
from segment_anything.modeling import MaskDecoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from epsam.config.decoder import DecoderOptions
from epsam.core.device import DeviceConfig, select_device
from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings
from epsam.data.images import Rgb, write_mask, write_rgb
from epsam.data.patches import list_labelled_patches
from epsam.segment.sam.compiled_encoder import CompiledEncoder
from epsam.segment.sam.losses import dice_iou_loss
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam, freeze
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.segment.sam.specs import IMAGE
from epsam.training.decoder import build_decoder_task
from epsam.training.round_data import Example

PATCH_PX, POINTS, BATCH = 512, 50, 4
ROUNDS, EPOCHS = 4, 20
GRID, CHANNELS = 64, 256


@cache
def encoder(device: str) -> Comparison:
    """Images/s of the package's encoder in fp32 against ours as it is run: fused, bf16 on a GPU
    that has it.

    Raises ValueError if the two are not within 1e-4 in fp32.
    """
    sam, device_config = _sam(device), select_device(device, "auto")
    count, side = 8 if device == "cuda" else 1, sam.image_encoder.img_size
    images = torch.randn(count, 3, side, side, device=device)
    fused = [block.attn for block in sam.image_encoder.blocks]
    for attention in fused:
        # They start at zero, which would hide a wrong bias.
        nn.init.normal_(attention.rel_pos_h, std=0.1)
        nn.init.normal_(attention.rel_pos_w, std=0.1)
    stock = _stock_attention(sam)

    def run(
        attentions: Sequence[nn.Module], context: Callable[[], Any], batch: torch.Tensor = images
    ) -> torch.Tensor:
        for block, attention in zip(sam.image_encoder.blocks, attentions, strict=True):
            block.attn = attention
        with torch.no_grad(), context():
            embeddings: torch.Tensor = sam.image_encoder(batch)
            return embeddings

    fp32 = partial(torch.autocast, device, enabled=False)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        check_close("encoder", run(stock, fp32, images[:1]), run(fused, fp32, images[:1]), 1e-4)
    plain, ours = in_turns(
        partial(run, stock, fp32),
        partial(run, fused, device_config.autocast),
        device,
        3,
        stock=True,
    )
    return Comparison(
        "package, fp32",
        plain / count,
        "fused attention",
        ours / count,
        6.0 if device == "cuda" else 1.4,
        "s an image",
        f"{count} images at a time",
    )


def compiled_encoder(device: str) -> Comparison:
    """Images/s of our encoder as it is run, without and with --compile, whose first minutes are not
    counted.
    """
    sam, device_config = _sam(device), select_device(device, "auto")
    compiled, count = CompiledEncoder(sam.image_encoder), 8 if device == "cuda" else 1
    images = torch.randn(count, 3, 1024, 1024, device=device)

    def run(encoder: Callable[[torch.Tensor], Any]) -> None:
        with torch.no_grad(), device_config.autocast():
            encoder(images)

    plain, ours = in_turns(partial(run, sam.image_encoder), partial(run, compiled), device, 3)
    return Comparison(
        "fused attention",
        plain / count,
        "and --compile",
        ours / count,
        1.0,
        "s an image",
        f"{count} images at a time",
    )


def batched_decoder(device: str) -> Comparison:
    """Forward and backward pass of 8 images with 50 points each: the package's decoder in a loop,
    ours in one batch.

    Raises ValueError if their masks are not within 1e-4 in the mean.
    """
    sam = freeze(_sam(device))
    package = MaskDecoder(
        transformer_dim=CHANNELS, transformer=TwoWayTransformer(2, CHANNELS, 8, 2048)
    ).to(device)
    package.load_state_dict(sam.mask_decoder.state_dict())
    embeddings, points, labels = _prompts(8, device)

    def with_gradients(means: torch.Tensor) -> torch.Tensor:
        torch.autograd.backward(means.sum())
        return means.detach()

    def one_by_one() -> torch.Tensor:
        means = []
        for k in range(len(embeddings)):
            sparse, dense = sam.prompt_encoder((points[k : k + 1], labels[k : k + 1]), None, None)
            masks, _ = package.predict_masks(
                embeddings[k : k + 1], sam.prompt_encoder.get_dense_pe(), sparse, dense
            )
            means.append(masks[0, 0].sigmoid().mean())
        return with_gradients(torch.stack(means))

    def batch() -> torch.Tensor:
        return with_gradients(decode(sam, embeddings, points, labels).sigmoid().mean(dim=(1, 2)))

    check_close("batched_decoder", one_by_one(), batch(), 1e-4)
    plain, ours = in_turns(one_by_one, batch, device, stock=True)
    return Comparison("one by one", plain / 8, "in a batch", ours / 8, 1.0, "s an image")


def cached_step(device: str) -> Comparison:
    """A whole training step (embeddings read, points sampled, loss, optimiser) against the
    decoder's forward and backward pass alone.

    The target: a step costs at most 1.15 times these passes, so plain / ours ≥ 1 / 1.15.
    """
    bare, step = _step_seconds(device)
    return Comparison(
        "bare forward + backward", bare, "training step", step, 1 / 1.15, f"s a step of {BATCH}"
    )


def training_image(device: str) -> Comparison:
    """One image of one epoch: with the package's encoder in the loop, against its cached
    embedding.
    """
    in_loop, cached, _ = _costs(device)
    return Comparison("encoder in the loop", in_loop, "kept embedding", cached, 60.0, "s an image")


def whole_schedule(device: str) -> Comparison:
    """4 decoders of 20 epochs: the cost of one image in all, with its encoding in the default
    number of transforms.
    """
    in_loop, cached, encoding = _costs(device)
    n_transforms, n_uses = DecoderOptions().embedding_transforms, ROUNDS * EPOCHS
    return Comparison(
        "encoder in the loop",
        n_uses * in_loop,
        "kept embeddings",
        n_transforms * encoding + n_uses * cached,
        30.0,
        "s an image",
        f"from the measured parts; {n_transforms} transforms",
    )


def _costs(device: str) -> tuple[float, float, float]:
    """Seconds per image: a step with the package's encoder in it, a cached step, our encoding."""
    encoding = encoder(device)
    bare, step = _step_seconds(device)
    return encoding.plain_value + bare / BATCH, step / BATCH, encoding.ours_value


@cache
def _step_seconds(device: str) -> tuple[float, float]:
    device_config = select_device(device, "auto")
    segmenter = SamSegmenter(freeze(_sam(device)), PATCH_PX, POINTS, device_config)
    with tempfile.TemporaryDirectory() as folder:
        step = _training_step(Path(folder), segmenter)
        embeddings, points, labels = _prompts(BATCH, device)
        targets = torch.zeros(BATCH, PATCH_PX, PATCH_PX, device=device)

        def bare() -> None:
            with device_config.autocast():
                low_res = decode(segmenter.sam, embeddings, points, labels)
            loss = dice_iou_loss(
                segmenter.frame.to_patch_logits(low_res.float()).sigmoid(), targets
            )
            torch.autograd.backward(loss.mean())

        return in_turns(bare, step, device)


def _training_step(folder: Path, segmenter: SamSegmenter) -> Callable[[], None]:
    """The training step of `finetune_decoder.py` on four patches of noise with cached embeddings.

    Raises ValueError if an embedding is read instead of mapped into memory.
    """
    rng = np.random.default_rng(0)
    for number in range(BATCH):
        write_rgb(
            folder / "image" / f"p{number}_1.png",
            rng.integers(0, 256, (PATCH_PX, PATCH_PX, 3), np.uint8),
        )
        mask = np.zeros((PATCH_PX, PATCH_PX), dtype=bool)
        mask[64:400, 64:300] = True
        write_mask(folder / "mask" / f"p{number}_1.png", mask)
    patches = list_labelled_patches(folder)
    embeddings = PatchEmbeddings(EmbeddingStore(folder / "embeddings", _noise, [IMAGE]), PATCH_PX)
    options = DecoderOptions(batch_size=BATCH, n_point=POINTS)
    embeddings.prepare(patches, options.embedding_transforms, 1)
    if not all(isinstance(embeddings(patch)[IMAGE], np.memmap) for patch in patches):
        raise ValueError("cached_step: embeddings are not mapped into memory; nothing was timed")
    examples = [Example(patch, patch.mask) for patch in patches if patch.mask]
    # With --train_prompt mask, the default, prompts come from the targets and need no CAM.
    task = build_decoder_task(
        "benchmark",
        segmenter,
        embeddings,
        examples,
        [],
        lambda patch: PromptInputs(np.zeros(0), np.zeros(0)),
        options,
    )

    def step() -> None:
        (batch,) = task.batches(0, 0)
        task.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(task.loss(batch, 0).mean())
        task.optimiser.step()

    return step


def _noise(images: Sequence[Rgb]) -> list[Any]:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (CHANNELS, GRID, GRID)).astype(np.float16)
    return [{IMAGE: noise} for _ in images]


def _prompts(count: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(count, CHANNELS, GRID, GRID, generator=generator).to(device)
    points = torch.rand(count, POINTS, 2, generator=generator).to(device) * 1024
    return embeddings, points, torch.ones(count, POINTS, dtype=torch.int64, device=device)


def _sam(device: str) -> Sam:
    torch.manual_seed(0)
    return build_sam("vit_b").to(DeviceConfig(torch.device(device), None).device)


def _stock_attention(sam: Sam) -> list[nn.Module]:
    """The package's attention modules, sharing the parameters of ours."""
    modules = []
    for block in sam.image_encoder.blocks:
        ours = block.attn
        side = (ours.rel_pos_h.shape[0] + 1) // 2
        stock = Attention(
            ours.qkv.in_features, ours.num_heads, use_rel_pos=True, input_size=(side, side)
        )
        stock.load_state_dict(ours.state_dict())
        modules.append(stock.to(ours.qkv.weight.device))
    return modules
