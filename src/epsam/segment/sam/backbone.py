"""The part of a promptable model that is frozen: images → features, which are cached."""

from typing import Any, Protocol

from segment_anything.modeling import Sam
from torch import Tensor

from epsam.segment.sam.compiled_encoder import CompiledEncoder
from epsam.segment.sam.specs import IMAGE, PIXELS, FeatureShapes

Features = dict[str, Tensor]
"""Tensors (B, …) of a batch, by name: SAM has one, other backbones have several."""


class PromptableBackbone(Protocol):
    """A frozen encoder whose features a decoder reads together with a prompt."""

    def encode(self, images: Tensor) -> Features:
        """The features of normalised images (B, 3, side, side)."""
        ...

    def feature_shapes(self) -> FeatureShapes:
        """The shapes of one image's features."""
        ...


class SamBackbone:
    """The image encoder of a SAM."""

    def __init__(self, sam: Sam, compiled: bool = False) -> None:
        """compiled: the encoder goes through torch.compile where that works."""
        self._sam = sam
        self._encoder: Any = CompiledEncoder(sam.image_encoder) if compiled else sam.image_encoder

    def encode(self, images: Tensor) -> Features:
        """The embeddings (B, 256, h, w) of normalised images (B, 3, side, side), and the images if
        the decoder reads them.
        """
        features = {IMAGE: self._encoder(images)}
        if self._sam.mask_decoder.reads_pixels:
            features[PIXELS] = images
        return features

    def feature_shapes(self) -> FeatureShapes:
        """(256, h, w), as SAM's prompt encoder expects it, and (3, side, side) of the images if the
        decoder reads them.
        """
        prompt_encoder = self._sam.prompt_encoder
        shapes = {IMAGE: (prompt_encoder.embed_dim, *prompt_encoder.image_embedding_size)}
        if self._sam.mask_decoder.reads_pixels:
            shapes[PIXELS] = (3, *prompt_encoder.input_image_size)
        return shapes
