"""DenseCRF instead of quantile and opening (paper Table 3), by the optional package pydensecrf2."""

from types import ModuleType

import numpy as np

from epsam.cam.postprocess import Map, upsample
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError
from epsam.data.images import Mask, Rgb

# The paper gives no values; these, and the default of --crf, are usual in weakly supervised
# segmentation (AffinityNet).
STEPS = 10
NEAR_PX, NEAR_WEIGHT = 3, 3
UNARY_CLIP = 0.05
"""Ours: no pixel is surer than 1 − DOUBT, so that its neighbours can always convince it."""


def dense_crf(cam_map: Map, image: Rgb, rule: MaskRule) -> Mask:
    """Mask (height, width) of a map (h, w) in 0..1 and its RGB patch (height, width, 3); a map of
    zeros gives none.

    Potts model with a smoothness and an appearance kernel (Krähenbühl & Koltun 2011), the map as
    tumour probability; `rule.crf` is the latter's reach in px, what it takes for alike in grey
    levels, and its weight. Raises EpsamError if the package is not installed.
    """
    library = _library()
    height, width = image.shape[:2]
    if not (cam_map > 0).any():
        return np.zeros((height, width), dtype=np.bool_)
    tumour = np.clip(upsample(cam_map, height, width), UNARY_CLIP, 1 - UNARY_CLIP)
    field = library.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(
        np.ascontiguousarray(-np.log([1 - tumour, tumour]).reshape(2, -1), dtype=np.float32)
    )
    field.addPairwiseGaussian(sxy=NEAR_PX, compat=NEAR_WEIGHT)
    reach_px, levels, weight = rule.crf
    field.addPairwiseBilateral(
        sxy=reach_px, srgb=levels, rgbim=np.ascontiguousarray(image), compat=weight
    )
    normal, positive = np.asarray(field.inference(STEPS)).reshape(2, height, width)
    return np.asarray(positive > normal)


def _library() -> ModuleType:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise EpsamError(
            f"--postprocess crf: pydensecrf cannot be imported ({error}); "
            "run: pip install pydensecrf2 (it needs a C++ compiler)"
        ) from error
    found: ModuleType = densecrf
    return found
