"""The trained decoder's file: state-dict keys `mask_decoder.…` as in the published checkpoints, and
how it was made.
"""

from pathlib import Path
from typing import Any

from segment_anything.modeling import Sam

from epsam.core.checkpoints import check_fit, load_plain, named_tensors, save_plain

PREFIX = "mask_decoder."


def save_decoder(path: Path, sam: Sam, made_with: dict[str, Any]) -> None:
    """Write the decoder's weights with the plain facts in `made_with`, whole or not at all."""
    weights = {PREFIX + key: tensor.cpu() for key, tensor in sam.mask_decoder.state_dict().items()}
    save_plain(path, {"model": weights, "made_with": made_with})


def load_decoder(path: Path, sam: Sam) -> dict[str, Any]:
    """Put a file's weights into `sam`'s decoder and return what the file says of its making.

    A bare state dict, as the published code writes it, is taken too and says nothing: {}.
    Raises WeightsError if the file is unreadable or does not fit.
    """
    content = load_plain(path)
    weights = named_tensors(path, content)
    own = {
        key.removeprefix(PREFIX): tensor
        for key, tensor in weights.items()
        if key.startswith(PREFIX)
    }
    check_fit(path, "SAM's mask decoder", own, sam.mask_decoder.state_dict())
    sam.mask_decoder.load_state_dict(own)
    made_with: dict[str, Any] = content.get("made_with", {})
    return made_with
