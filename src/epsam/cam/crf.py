"""DenseCRF instead of quantile and opening (paper Table 3), by the optional package pydensecrf2."""

from types import ModuleType

import numpy as np

from epsam.cam.postprocess import upsample
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError
from epsam.data.cam_store import CamMap
from epsam.data.images import Mask, Rgb

# The paper gives no values. These, and the default of --crf, are usual in weakly supervised
# segmentation since AffinityNet (docs/deviations.md, "Raw maps and DenseCRF").
ITERATIONS = 10
SMOOTHNESS_PX, SMOOTHNESS_WEIGHT = 3, 3
UNARY_CLIP = 0.05
"""This project: probabilities lie in UNARY_CLIP … 1 − UNARY_CLIP, so that a pixel's neighbours can
always overrule it.
"""


def dense_crf(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """The mask (height, width) of a CAM (h, w) in 0..1 and its RGB patch (height, width, 3).

    The CAM is taken for the tumour probability. The Potts model has a smoothness kernel and an
    appearance kernel (Krähenbühl & Koltun 2011); `rule.crf` is the appearance kernel's reach in px,
    its tolerance in grey levels, and its weight. A map of zeros gives an empty mask.

    Raises EpsamError if the package is not installed.
    """
    densecrf = _import_densecrf()
    height, width = image.shape[:2]
    if not (cam_map > 0).any():
        return np.zeros((height, width), dtype=np.bool_)

    tumour = np.clip(upsample(cam_map, height, width), UNARY_CLIP, 1 - UNARY_CLIP)
    unary = -np.log([1 - tumour, tumour]).reshape(2, -1)
    field = densecrf.DenseCRF2D(width, height, 2)
    # The package takes contiguous float32 only.
    field.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    field.addPairwiseGaussian(sxy=SMOOTHNESS_PX, compat=SMOOTHNESS_WEIGHT)
    reach_px, grey_levels, weight = rule.crf
    field.addPairwiseBilateral(
        sxy=reach_px, srgb=grey_levels, rgbim=np.ascontiguousarray(image), compat=weight
    )

    normal, positive = np.asarray(field.inference(ITERATIONS)).reshape(2, height, width)
    return np.asarray(positive > normal)


def _import_densecrf() -> ModuleType:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise EpsamError(
            f"--postprocess crf: pydensecrf cannot be imported ({error}); "
            "run: pip install pydensecrf2 (it needs a C++ compiler, and Python 3.12 at the latest)"
        ) from error
    library: ModuleType = densecrf
    return library
