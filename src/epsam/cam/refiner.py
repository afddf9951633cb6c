"""Map refiners by their name in `methods.MAP_REFINERS`, and the refined maps of a weak model."""

from typing import Any

from torch import Tensor

from epsam.cam.protocol import MapRefiner, PredictMaps
from epsam.cam.rotation import RotationAverage, predict_rotated, select_cam, trained_cam
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError
from epsam.methods import MAP_REFINERS, load_function


def average_over_rotations(rule: MaskRule) -> RotationAverage:
    """The row `rotation_average`: the paper's Eq. 3, over --rotations."""
    return RotationAverage(rule.rotations)


def leave_unrefined(rule: MaskRule) -> RotationAverage:
    """The row `none`: maps of the images as they are, only scaled to 0..1."""
    return RotationAverage(1)


def leave_unscaled(rule: MaskRule) -> "UnscaledMaps":
    """The row `unscaled`: maps as they are, for weak models whose maps are probabilities."""
    return UnscaledMaps()


class UnscaledMaps:
    """A `MapRefiner` that leaves maps in 0..1 as they are, so that ½ means the same in all."""

    def __call__(self, predict: PredictMaps, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `MapRefiner`. Raises EpsamError if the maps are no probabilities."""
        probabilities, maps = predict_rotated(predict, images, range(1))
        return probabilities[0], self.refine(predict, images, maps[0].float())

    def refine(self, predict: PredictMaps, images: Tensor, maps: Tensor) -> Tensor:
        """See `MapRefiner`. Raises EpsamError if the maps are no probabilities."""
        if float(maps.max()) > 1:
            raise EpsamError(
                f"--refine unscaled: maps of up to {float(maps.max()):.3g}, which are no "
                "probabilities; use --refine none or rotation_average for this classifier"
            )
        return maps


def build_refiner(rule: MaskRule) -> MapRefiner:
    """The map refiner of --refine."""
    build = load_function(MAP_REFINERS, "--refine", rule.refine)
    refiner: MapRefiner = build(rule)
    return refiner


def compute_refined_maps(model: Any, images: Tensor, rule: MaskRule) -> tuple[Tensor, Tensor]:
    """Tumour probabilities (B,) and maps (B, h, w) in 0..1 of square RGB images (B, 3, H, H) in
    0..1, made and refined as the rule says; the model, a `WeakModel`, is set to evaluation mode.

    Raises ImageError if the images are not square.
    """
    predict = select_cam(model, rule.cam or trained_cam(model), rule.cam_layer)
    model.eval()
    return build_refiner(rule)(predict, images)
