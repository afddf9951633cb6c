"""SAM's encoder through torch.compile (--compile); where that fails, the encoder as it is."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class CompiledEncoder:
    """Encodes as the plain encoder does, within rounding; compiled at the first images."""

    def __init__(self, encoder: nn.Module) -> None:
        """Shares the encoder's parameters; its state-dict keys stay."""
        self._plain = encoder
        self._compiled: Any = None
        try:
            self._compiled = torch.compile(encoder)
        except RuntimeError as error:
            # torch raises this for a Python or a system that it does not compile on.
            _warn_of_failure(error)

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings (B, 256, h, w) of normalised images (B, 3, side, side)."""
        # Imported here, since it takes seconds that only users of --compile should wait for.
        from torch._dynamo.exc import TorchDynamoException

        if self._compiled is not None:
            try:
                compiled: Tensor = self._compiled(images)
                return compiled
            except TorchDynamoException as error:
                _warn_of_failure(error)
                self._compiled = None
        plain: Tensor = self._plain(images)
        return plain


def _warn_of_failure(error: Exception) -> None:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Two lines, since the first may only name the part of torch that failed.
    log.warning(
        "--compile: torch.compile does not work here (%s); the encoder runs as it is",
        " ".join(lines[:2]) or type(error).__name__,
    )
