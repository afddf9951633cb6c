"""The file of a trained decoder: state-dict keys `mask_decoder.…` as in the published checkpoints,
and metadata: how it was trained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segment_anything.modeling import Sam
from torch import Tensor

from epsam.core.checkpoints import check_fit, load_plain, named_tensors, save_plain
from epsam.core.errors import WeightsError

PREFIX = "mask_decoder."


def save_decoder(path: Path, sam: Sam, metadata: dict[str, Any]) -> None:
    """Write the decoder's weights with plain metadata, whole or not at all."""
    save_plain(path, {"model": state_of_decoder(sam), "made_with": metadata})


def state_of_decoder(sam: Sam) -> dict[str, Tensor]:
    """The decoder's weights on the CPU, by the names of a checkpoint."""
    return {PREFIX + key: tensor.cpu() for key, tensor in sam.mask_decoder.state_dict().items()}


def load_decoder(path: Path, sam: Sam) -> dict[str, Any]:
    """Load a file's weights into `sam`'s decoder and return the file's metadata.

    A bare state dict, as the published code writes it, has none: {}.
    Raises WeightsError if the file is unreadable or does not fit.
    """
    content = load_plain(path)
    # Checkpoints of the published code hold the whole SAM; only the decoder is of interest.
    decoder_weights = {}
    for key, tensor in named_tensors(path, content).items():
        if key.startswith(PREFIX):
            decoder_weights[key.removeprefix(PREFIX)] = tensor

    # Strict, unlike the published code (docs/deviations.md, "Strict weights").
    check_fit(path, "SAM's mask decoder", decoder_weights, sam.mask_decoder.state_dict())
    sam.mask_decoder.load_state_dict(decoder_weights)
    metadata: dict[str, Any] = content.get("made_with", {})
    return metadata


def check_same_sam(
    decoder: Path, metadata: Mapping[str, Any], model_type: str, weights: Path, checksum: str
) -> None:
    """Raise WeightsError if a decoder with `metadata` was trained with another SAM than the one of
    `weights`, whose SHA-256 is `checksum`.
    """
    # By its shapes a decoder fits SAMs of other sizes, yet it has learnt from the embeddings of
    # one encoder.
    if not metadata:
        return
    if metadata["sam_model_type"] != model_type:
        raise WeightsError(
            f"{decoder}: trained with {metadata['sam_model_type']}, not {model_type}; "
            f"give --sam_model_type {metadata['sam_model_type']}"
        )
    if metadata["sam_sha256"] != checksum:
        raise WeightsError(
            f"{decoder}: trained with other weights of {model_type} than {weights}; "
            "give them by --sam_checkpoint"
        )
