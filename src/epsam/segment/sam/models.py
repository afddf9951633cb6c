"""The Segment Anything networks: their sizes, their weights, and which part of them is trained.

Source of the sizes and addresses: the registry and the README of Meta's `segment_anything` package.
`vit_demo` is this project's: the same classes, small enough for a CPU. It is no SAM ViT-B.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from epsam.core.checkpoints import check_fit, load_plain, named_tensors
from epsam.core.downloads import download
from epsam.core.errors import WeightsError
from epsam.segment.sam.attention import fuse_attention, scale_early
from epsam.segment.sam.backbone import IMAGE, FeatureShapes
from epsam.segment.sam.frames import PIXEL_MEAN, PIXEL_STD
from epsam.segment.sam.mask_decoder import BatchedMaskDecoder

PROMPT_DIM = 256
OFFICIAL_SITE = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class SamSpec:
    """The sizes of an image encoder, in pixels of SAM's input, and the file of its weights."""

    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    file: str
    sha256: str = ""
    input_px: int = 1024
    token_px: int = 16
    window: int = 14

    @property
    def grid(self) -> int:
        """Side of the embedding, in tokens."""
        return self.input_px // self.token_px

    def feature_shapes(self) -> FeatureShapes:
        """The shapes of one image's features, before any weights are loaded."""
        return {IMAGE: (PROMPT_DIM, self.grid, self.grid)}

    @property
    def url(self) -> str:
        """Official address of the weights; "" if they come with this repository."""
        return OFFICIAL_SITE + self.file if self.sha256 else ""


SPECS = {
    "vit_b": SamSpec(
        768,
        12,
        12,
        (2, 5, 8, 11),
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": SamSpec(
        1024,
        24,
        16,
        (5, 11, 17, 23),
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": SamSpec(
        1280,
        32,
        16,
        (7, 15, 23, 31),
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "vit_demo": SamSpec(160, 6, 5, (2, 5), "sam_vit_demo.pth", input_px=256, token_px=8, window=8),
}


def build_sam(name: str) -> Sam:
    """The network of `SPECS[name]` with random weights, in evaluation mode."""
    spec = SPECS[name]
    return Sam(
        _encoder(spec), _prompt_encoder(spec), _decoder(), list(PIXEL_MEAN), list(PIXEL_STD)
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


def _decoder() -> BatchedMaskDecoder:
    transformer = scale_early(
        TwoWayTransformer(depth=2, embedding_dim=PROMPT_DIM, mlp_dim=2048, num_heads=8)
    )
    return BatchedMaskDecoder(
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

    The file holds a state dict, or {"model": state dict, …}. Raises WeightsError if it cannot be
    read, does not fit the network key by key, or holds NaN or infinity (docs/deviations.md, "Strict
    weights").
    """
    weights = named_tensors(checkpoint, load_plain(checkpoint))
    sam = build_sam(name)
    check_fit(checkpoint, name, weights, sam.state_dict())
    sam.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    return sam


def find_checkpoint(name: str, checkpoint: str, folder: Path) -> Path:
    """The file of weights: `checkpoint`, or if that is "" the official file in `folder`, downloaded
    if absent.

    Raises WeightsError if `checkpoint` does not exist, or if the official file is absent and cannot
    be downloaded.
    """
    spec = SPECS[name]
    path = Path(checkpoint) if checkpoint else folder / spec.file
    if path.is_file():
        return path
    if checkpoint:
        raise WeightsError(f"{path}: no such file; correct --sam_checkpoint or leave it out")
    if not spec.url:
        raise WeightsError(
            f"{path}: missing, though the weights of {name} come with this repository; "
            "restore the file or make it again with src/pretrain_demo_sam.py"
        )
    download(spec.url, spec.sha256, path)
    return path
