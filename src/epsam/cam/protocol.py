"""The slots between a weak model and its initial masks: map refiner, and map to mask."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from epsam.config.masks import MaskRule
from epsam.data.cam_store import CamMap
from epsam.data.images import Mask, Rgb

# Masks are made of maps without PyTorch, whose import takes seconds.
if TYPE_CHECKING:
    from torch import Tensor

PredictMaps = Callable[["Tensor"], tuple["Tensor", "Tensor"]]
"""Images (B, 3, H, H) → tumour logits (B,) and maps (B, h, w), none below 0."""


class MapRefiner(Protocol):
    """Better maps of the same images: it may look at them, and predict as often as it likes."""

    def __call__(self, predict: PredictMaps, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Tumour probabilities (B,) and maps (B, h, w) in 0..1 of images (B, 3, H, H) in 0..1."""
        ...

    def refine(self, predict: PredictMaps, images: "Tensor", maps: "Tensor") -> "Tensor":
        """The same maps, where the unrefined ones (B, h, w) of the images are there already.

        Inference scores every tile, and refines the maps of those alone that pass the gate.
        """
        ...


@runtime_checkable
class StagedRefiner(MapRefiner, Protocol):
    """A refiner that works on the maps of another one, which are stored: with other settings it
    need not start from the images again.
    """

    @property
    def base_rule(self) -> MaskRule:
        """The rule of the maps that it starts from."""
        ...

    def improve(self, images: "Tensor", maps: "Tensor") -> "Tensor":
        """The refined maps (B, h', w') in 0..1 of maps (B, h, w) by `base_rule` of the images."""
        ...


@runtime_checkable
class EncodingRefiner(StagedRefiner, Protocol):
    """A refiner that encodes the images by the rule's SAM, as the decoder's stages do."""

    def with_cache(self, folder: Path) -> "EncodingRefiner":
        """The same refiner, whose embeddings are read from the folder, or computed and stored
        there; the folder is of its SAM and of the arithmetic that it runs in.
        """
        ...


@runtime_checkable
class FittedRefiner(StagedRefiner, Protocol):
    """A refiner with weights that are fitted to the maps of the training patches."""

    @property
    def is_fitted(self) -> bool:
        """Whether the rule holds the weights."""
        ...

    def fit(self, batches: Iterable[tuple["Tensor", "Tensor"]]) -> dict[str, Any]:
        """The fields of the rule with the weights, by name, fitted to batches of images (B, 3, H,
        H) in 0..1 and their maps (B, h, w) by `base_rule`.
        """
        ...


class MapToMask(Protocol):
    """What a row of `methods.POSTPROCESSINGS` names."""

    def __call__(self, cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
        """The mask (height, width) of a map (h, w) in 0..1 and its RGB patch (height, width, 3)."""
        ...
