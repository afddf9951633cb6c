"""SAM's encoder through torch.compile, for whoever asks for it; where that cannot be had, the
encoder as it is.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class CompiledEncoder:
    """Encodes like the network it is made of, within rounding; compiled when the first images
    come.
    """

    def __init__(self, encoder: nn.Module) -> None:
        """Takes the parameters as they are; the network keeps its keys."""
        self._plain = encoder
        self._compiled: Any = None
        try:
            self._compiled = torch.compile(encoder)
        except RuntimeError as error:
            # What torch raises for a Python or a system that it does not compile on.
            _warn(error)

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings (B, 256, h, w) of normalised images (B, 3, side, side)."""
        # Imported here as it takes seconds, which only users of --compile should wait for.
        from torch._dynamo.exc import TorchDynamoException

        if self._compiled is not None:
            try:
                compiled: Tensor = self._compiled(images)
                return compiled
            except TorchDynamoException as error:
                _warn(error)
                self._compiled = None
        plain: Tensor = self._plain(images)
        return plain


def _warn(error: Exception) -> None:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first line may name no more than the part that failed.
    log.warning(
        "--compile: torch.compile does not work here (%s); the encoder runs as it is",
        " ".join(lines[:2]) or type(error).__name__,
    )
