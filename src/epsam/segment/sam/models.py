"""The Segment Anything networks: how they are built and loaded, and which part of them is
trained.
"""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

import torch
from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from epsam.core.checkpoints import check_fit, load_plain, named_tensors
from epsam.segment.sam.attention import fuse_attention, scale_early
from epsam.segment.sam.detail import DetailMaskDecoder
from epsam.segment.sam.frames import PIXEL_MEAN, PIXEL_STD
from epsam.segment.sam.mask_decoder import BatchedMaskDecoder
from epsam.segment.sam.specs import PROMPT_DIM, SPECS, SamSpec

DETAIL_PREFIX = "mask_decoder.detail."
DETAIL_SEED = 22
"""This project: of the start of a branch that no file has weights of, the same in all runs, so that
a run and its evaluation begin with the same network.
"""


def build_sam(name: str) -> Sam:
    """The network of `SPECS[name]` with random weights, in evaluation mode."""
    spec = SPECS[name]
    return Sam(
        _encoder(spec), _prompt_encoder(spec), _decoder(spec), list(PIXEL_MEAN), list(PIXEL_STD)
    ).eval()


def _encoder(spec: SamSpec) -> ImageEncoderViT:
    # As build_sam_vit_b of the package, with its attention replaced by an equal, faster one.
    return fuse_attention(
        ImageEncoderViT(
            img_size=spec.input_px,
            patch_size=spec.token_px,
            embed_dim=spec.embed_dim,
            depth=spec.depth,
            num_heads=spec.heads,
            mlp_ratio=4,
            out_chans=PROMPT_DIM,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=spec.window,
            global_attn_indexes=spec.global_blocks,
        )
    )


def _prompt_encoder(spec: SamSpec) -> PromptEncoder:
    return PromptEncoder(
        embed_dim=PROMPT_DIM,
        image_embedding_size=(spec.grid, spec.grid),
        input_image_size=(spec.input_px, spec.input_px),
        mask_in_chans=16,
    )


def _decoder(spec: SamSpec) -> BatchedMaskDecoder:
    transformer = scale_early(
        TwoWayTransformer(depth=2, embedding_dim=PROMPT_DIM, mlp_dim=2048, num_heads=8)
    )
    decoder = DetailMaskDecoder if spec.reads_pixels else BatchedMaskDecoder
    return decoder(
        num_multimask_outputs=3,
        transformer=transformer,
        transformer_dim=PROMPT_DIM,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )


def freeze(sam: Sam) -> Sam:
    """Freeze encoder and prompt encoder, so that only the decoder is trained (paper 3.3.2).

    Returns `sam`.
    """
    # Without gradients the encoder stores no activations for a backward pass, and embeddings can be
    # cached.
    sam.requires_grad_(False)
    sam.mask_decoder.requires_grad_(True)
    return sam


def parameter_counts(sam: Sam) -> tuple[int, int]:
    """Numbers of (trainable, frozen) parameters."""
    trainable = frozen = 0
    for parameter in sam.parameters():
        if parameter.requires_grad:
            trainable += parameter.numel()
        else:
            frozen += parameter.numel()
    return trainable, frozen


def load_sam(name: str, checkpoint: Path) -> Sam:
    """The network of `SPECS[name]` in float32 with the weights of a file.

    The file holds a state dict, or {"model": state dict, …}. A decoder that reads the image starts
    with a new branch if the file has none. Raises WeightsError if the file cannot be read, does not
    fit the network key by key, or holds NaN or infinity (docs/deviations.md, "Strict weights").
    """
    weights = dict(named_tensors(checkpoint, load_plain(checkpoint)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(DETAIL_SEED)
        sam = build_sam(name)
    tensors = sam.state_dict()
    check_fit(checkpoint, name, weights, select_stored(tensors, weights))
    stored = {key: tensor.float() for key, tensor in weights.items()}
    sam.load_state_dict({**tensors, **stored})
    return sam


def select_stored(tensors: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Those of a network's tensors that a file must hold, which has tensors of these names: all of
    them, but for the branch that reads the image if the file has nothing of it.
    """
    if any(name.startswith(DETAIL_PREFIX) for name in names):
        return dict(tensors)
    return {name: tensors[name] for name in tensors if not name.startswith(DETAIL_PREFIX)}
