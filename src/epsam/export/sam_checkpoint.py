"""One checkpoint of the whole SAM with the trained decoder, for programs that load SAM."""

import logging
from pathlib import Path

import torch
from segment_anything.modeling import Sam

from epsam.config.inference import InferOptions
from epsam.core.checkpoints import save_plain
from epsam.core.files import sha256_of
from epsam.inference.weights import find_decoder, resolve_sam_model_type
from epsam.segment.sam.decoder_weights import check_same_sam, load_decoder
from epsam.segment.sam.models import load_sam
from epsam.segment.sam.specs import find_checkpoint

log = logging.getLogger(__name__)


def load_trained_sam(options: InferOptions) -> tuple[str, Sam]:
    """Name of the image encoder, and SAM with the trained decoder, on the CPU.

    Raises WeightsError if the run has no decoder of SAM, or if the decoder was trained with another
    SAM than the weights.
    """
    options = resolve_sam_model_type(options)
    name = options.sam_model_type
    decoder_file = find_decoder(options)
    weights = find_checkpoint(name, options.sam_checkpoint, Path(options.checkpoint_root))
    sam = load_sam(name, weights)
    metadata = load_decoder(decoder_file, sam)
    check_same_sam(decoder_file, metadata, name, weights, sha256_of(weights))
    log.info("decoder %s, SAM %s (%s)", decoder_file, weights, name)
    return name, sam.eval()


def write_sam_checkpoint(path: Path, sam: Sam) -> None:
    """Write a bare state dict with the names of the official files, whole or not at all."""
    # Programs that load SAM expect the tensors at the top, with nothing beside them.
    state = {key: tensor.detach().contiguous() for key, tensor in sam.state_dict().items()}
    with torch.no_grad():
        save_plain(path, state)
