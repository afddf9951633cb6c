"""What the decoder's stages share: patches, kept maps and masks, embeddings, and SAM ready on its
device.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from epsam.cam.postprocess import upsample
from epsam.config.decoder import DecoderOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import DeviceError
from epsam.core.files import sha256_of
from epsam.core.seeding import generator
from epsam.data.cam_store import CamStore
from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings, check_disk_space
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.paths import DatasetPaths, RunPaths
from epsam.segment.sam.models import (
    PROMPT_DIM,
    SPECS,
    find_checkpoint,
    freeze,
    load_sam,
    parameter_counts,
)
from epsam.segment.sam.prompting.rules import PromptInputs, transform_inputs
from epsam.segment.sam.prompting.sam_prompt import SamPrompt, make_sam_prompts
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.training.decoder import PromptedPatch

log = logging.getLogger(__name__)

FP16_BYTES = 2
PROMPT_CHUNK = 16
"""Ours: patches whose prompts are drawn at a time."""
GPU_CHUNK = 8
"""Ours: images encoded at a time on a GPU; ViT-B fits 12 GB with room to spare."""


@dataclass(frozen=True)
class SamSetup:
    """A frozen-encoder SAM, its embeddings of patches, and the checksum of its weights."""

    segmenter: SamSegmenter
    embeddings: PatchEmbeddings
    chunk: int
    checksum: str


def prepare_sam(
    options: DecoderOptions | EvaluateOptions,
    size: int,
    images: int,
    n_point: int,
    device_config: DeviceConfig,
) -> SamSetup:
    """Load SAM's weights and open the store of embeddings of patches of size × size px.

    `images` is how many embeddings will be asked for at most: the disk is checked before the first
    is made.
    """
    weights = find_checkpoint(
        options.sam_model_type, options.sam_checkpoint, Path(options.checkpoint_root)
    )
    sam = freeze(load_sam(options.sam_model_type, weights))
    checksum = sha256_of(weights)
    segmenter = SamSegmenter(sam, size, n_point, device_config, options.compile)
    log.info(
        "SAM %s: %.2f M trainable, %.2f M frozen parameters",
        options.sam_model_type,
        *(count / 1e6 for count in parameter_counts(sam)),
    )
    spec = SPECS[options.sam_model_type]
    folder = cache_folder(options, checksum, device_config)
    fits = options.embedding_cache and check_disk_space(
        folder, images, PROMPT_DIM * spec.grid**2 * FP16_BYTES
    )
    store = EmbeddingStore(folder if fits else None, segmenter.encode)
    chunk = options.encoder_chunk or (GPU_CHUNK if device_config.device.type == "cuda" else 1)
    return SamSetup(segmenter, PatchEmbeddings(store, size), chunk, checksum)


def cache_folder(
    options: DecoderOptions | EvaluateOptions, checksum: str, device_config: DeviceConfig
) -> Path:
    """Where embeddings lie that an encoder of those weights makes in that arithmetic."""
    # Without a word for fp32, embeddings that were kept before it mattered stay valid.
    dtype = device_config.autocast_dtype
    arithmetic = f"-{str(dtype).removeprefix('torch.')}" if dtype else ""
    name = f"{options.sam_model_type}-{checksum[:12]}-{SPECS[options.sam_model_type].input_px}px{arithmetic}"
    return DatasetPaths.of(options).embeddings / name


def prepare_embeddings(setup: SamSetup, patches: Sequence[Patch], views: int) -> None:
    """Encode what is not kept yet of the first `views` views of each patch.

    Raises DeviceError if the GPU's memory does not do for the images that are encoded at a time.
    """
    try:
        with tqdm(patches, desc="encoding", disable=None, leave=False) as bar:
            made = setup.embeddings.prepare(bar, views, setup.chunk)
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"the GPU's memory is too small to encode {setup.chunk} images at a time; lower "
            "--encoder_chunk"
        ) from error
    log.info("embeddings: %d patches in %d views, %d encoded now", len(patches), views, made)


def initial_mask_path(run: RunPaths, split: str, patch: Patch) -> Path:
    """Where the initial mask of a patch lies."""
    return run.initial_masks(split) / f"{patch.name}.png"


def load_prompt_inputs(
    run: RunPaths, split: str, patch: Patch, activations: CamStore
) -> PromptInputs:
    """What a prompt for a patch may be made of: its kept map, its initial mask and, where there is
    one, its truth.
    """
    mask = read_mask(initial_mask_path(run, split, patch))
    return PromptInputs(
        upsample(activations.maps[patch.name], *mask.shape), mask, patch.ground_truth
    )


def prompt_patches(
    run: RunPaths,
    split: str,
    patches: Sequence[Patch],
    activations: CamStore,
    options: PromptOptions,
    key: Sequence[int | str],
) -> list[PromptedPatch]:
    """What SAM is asked about each patch: --n_sample prompts in each of --n_transform views, drawn by
    keyed generators.
    """
    asked = []
    for start in range(0, len(patches), PROMPT_CHUNK):
        asked += _asked(
            run, split, patches[start : start + PROMPT_CHUNK], activations, options, key
        )
    return asked


def _asked(
    run: RunPaths,
    split: str,
    patches: Sequence[Patch],
    activations: CamStore,
    options: PromptOptions,
    key: Sequence[int | str],
) -> list[PromptedPatch]:
    hints = [load_prompt_inputs(run, split, patch, activations) for patch in patches]
    asked: list[list[tuple[int, tuple[SamPrompt, ...]]]] = [[] for _ in patches]
    for view in range(options.n_transform):
        known = [transform_inputs(one, view) for one in hints]
        for draw in range(options.n_sample):
            own = ("variant", view, draw) if (view, draw) != (0, 0) else ()
            rngs = [generator(*key, "pepm", split, patch.name, *own) for patch in patches]
            for kept, queries in zip(asked, make_sam_prompts(known, options, rngs), strict=True):
                kept.append((view, queries))
    return [
        PromptedPatch(patch, tuple(kept), initial_mask_path(run, split, patch))
        for patch, kept in zip(patches, asked, strict=True)
    ]
