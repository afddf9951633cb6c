"""SAM ready for the decoder's stages: its weights on the device, the cache of embeddings, and the
prompts of patches.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from epsam.cam.postprocess import upsample
from epsam.config.decoder import DecoderOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.masks import MaskOptions
from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.core.distributed import gather_objects, part_of_process
from epsam.core.errors import DeviceError
from epsam.core.files import sha256_of
from epsam.core.progress import track
from epsam.data.cam_store import CamStore
from epsam.data.embeddings import (
    EmbeddingStore,
    PatchEmbeddings,
    check_disk_space,
    digest_of_image,
)
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.paths import DatasetPaths, RunPaths
from epsam.segment.sam.models import freeze, load_sam, parameter_counts
from epsam.segment.sam.prompting.generators import prompt_generators
from epsam.segment.sam.prompting.rules import PromptInputs, transform_inputs
from epsam.segment.sam.prompting.sam_prompt import SamPrompt, make_sam_prompts
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.segment.sam.specs import (
    SAM_PIXELS,
    SPECS,
    PixelScaling,
    count_feature_bytes,
    find_checkpoint,
)
from epsam.training.decoder import PromptedPatch
from epsam.training.round_data import initial_mask_path

log = logging.getLogger(__name__)

PROMPT_CHUNK = 16
"""This project: patches whose prompts are sampled in one batch."""
GPU_CHUNK = 8
"""This project: patches per encoder pass on a GPU; ViT-B fits 12 GB with room to spare."""


@dataclass(frozen=True)
class SamSetup:
    """A SAM with frozen encoder, and its embeddings of patches.

    chunk: patches per encoder pass. checksum: SHA-256 of SAM's weights.
    """

    segmenter: SamSegmenter
    embeddings: PatchEmbeddings
    chunk: int
    checksum: str


def prepare_sam(
    options: DecoderOptions | EvaluateOptions,
    patch_size: int,
    n_embeddings: int,
    n_point: int,
    device_config: DeviceConfig,
    pixels: PixelScaling = SAM_PIXELS,
) -> SamSetup:
    """Load SAM's weights and open the store of embeddings of patches of patch_size × patch_size px.

    n_embeddings: how many will be needed at most. If the disk has no room for them, nothing is
    cached. n_point: points that prompts are padded to. pixels: see `SamFrame`.
    """
    weights = find_checkpoint(
        options.sam_model_type, options.sam_checkpoint, Path(options.checkpoint_root)
    )
    sam = freeze(load_sam(options.sam_model_type, weights))
    # Of the weights, not of the file name: a cached embedding must never come from another SAM.
    checksum = sha256_of(weights)
    segmenter = SamSegmenter(sam, patch_size, n_point, device_config, options.compile, pixels)
    trainable, frozen = parameter_counts(sam)
    log.info(
        "SAM %s: %.2f M trainable, %.2f M frozen parameters",
        options.sam_model_type,
        trainable / 1e6,
        frozen / 1e6,
    )

    folder = embedding_folder(options, checksum, device_config, pixels)
    shapes = segmenter.backbone.feature_shapes()
    bytes_per_embedding = count_feature_bytes(shapes)
    is_cached = options.embedding_cache and check_disk_space(
        folder, n_embeddings, bytes_per_embedding
    )
    store = EmbeddingStore(folder if is_cached else None, segmenter.encode, list(shapes))
    default_chunk = GPU_CHUNK if device_config.device.type == "cuda" else 1
    chunk = options.encoder_chunk or default_chunk
    return SamSetup(segmenter, PatchEmbeddings(store, patch_size), chunk, checksum)


def embedding_folder(
    options: DecoderOptions | EvaluateOptions,
    checksum: str,
    device_config: DeviceConfig,
    pixels: PixelScaling = SAM_PIXELS,
) -> Path:
    """The folder for embeddings of one encoder, input size, precision and scaling of pixels."""
    name = name_embedding_folder(options.sam_model_type, checksum, device_config, pixels)
    return DatasetPaths.of(options).embeddings / name


def name_embedding_folder(
    model: str, checksum: str, device_config: DeviceConfig, pixels: PixelScaling = SAM_PIXELS
) -> str:
    """The name of such a folder; checksum: SHA-256 of the weights of the SAM `model`."""
    name = f"{model}-{checksum[:12]}-{SPECS[model].input_px}px"
    # fp32 has no suffix, so that embeddings of versions without a choice of precision stay valid.
    if dtype := device_config.autocast_dtype:
        name += f"-{str(dtype).removeprefix('torch.')}"
    # Nor has SAM's own scaling.
    if pixels != SAM_PIXELS:
        name += f"-{pixels}"
    return name


def find_embedding_cache(options: MaskOptions | DecoderOptions | EvaluateOptions) -> Path | None:
    """The dataset's folder of cached embeddings; None with --no-embedding_cache."""
    return DatasetPaths.of(options).embeddings if options.embedding_cache else None


def prepare_embeddings(sam: SamSetup, patches: Sequence[Patch], n_transforms: int) -> None:
    """Encode each patch in the first `n_transforms` transforms of D4, unless its embeddings are
    cached. Processes share the patches, and all wait until the cache is filled.

    Raises DeviceError if the GPU's memory is too small for `sam.chunk` patches per pass.
    """
    try:
        part = part_of_process(patches)
        tracked_patches = track(part, "encoding", len(part))
        n_encoded = sam.embeddings.prepare(tracked_patches, n_transforms, sam.chunk)
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"the GPU's memory is too small to encode {sam.chunk} images at a time; lower "
            "--encoder_chunk"
        ) from error
    log.info(
        "embeddings: %d patches in %d transforms, %d encoded now",
        len(patches),
        n_transforms,
        sum(gather_objects(n_encoded)),
    )


def load_prompt_inputs(run: RunPaths, split: str, patch: Patch, cams: CamStore) -> PromptInputs:
    """A patch's CAM in the patch's size, its initial mask and, where there is one, its ground
    truth; that of a negative is empty.
    """
    mask = read_mask(initial_mask_path(run, split, patch))
    ground_truth = patch.ground_truth
    if patch.label == 0:
        ground_truth = partial(np.zeros_like, mask)
    return PromptInputs(upsample(cams.maps[patch.name], *mask.shape), mask, ground_truth)


def prompt_patches(
    run: RunPaths,
    split: str,
    patches: Sequence[Patch],
    cams: CamStore,
    options: PromptOptions,
    key: Sequence[int | str],
) -> list[PromptedPatch]:
    """Sample each patch's prompts: --n_sample of them in each of --n_transform transforms of D4.

    key: what the generators are keyed by, beside the patch's pixels: seed and perhaps round.
    """
    prompted_patches = []
    for start in range(0, len(patches), PROMPT_CHUNK):
        # Sampled in chunks, since a batch of CAMs in the patch's size takes memory.
        chunk = patches[start : start + PROMPT_CHUNK]
        inputs = [load_prompt_inputs(run, split, patch, cams) for patch in chunk]
        digests = [digest_of_image(patch.read()) for patch in chunk]
        prompts = _sample_prompts(digests, inputs, options, key)
        for patch, patch_prompts in zip(chunk, prompts, strict=True):
            path = initial_mask_path(run, split, patch)
            prompted_patches.append(PromptedPatch(patch, tuple(patch_prompts), path))
    return prompted_patches


def _sample_prompts(
    digests: Sequence[str],
    inputs: Sequence[PromptInputs],
    options: PromptOptions,
    key: Sequence[int | str],
) -> list[list[tuple[int, tuple[SamPrompt, ...]]]]:
    """(transform, prompts) of each patch of a batch, in the same sequence of transforms for all."""
    prompts: list[list[tuple[int, tuple[SamPrompt, ...]]]] = [[] for _ in digests]
    for transform in range(options.n_transform):
        transformed = [transform_inputs(patch_inputs, transform) for patch_inputs in inputs]
        for sample in range(options.n_sample):
            rngs = prompt_generators(key, digests, transform, sample)
            batch = make_sam_prompts(transformed, options, rngs)
            for patch_prompts, new_prompts in zip(prompts, batch, strict=True):
                patch_prompts.append((transform, new_prompts))
    return prompts
