"""DenseCRF instead of quantile and opening (paper Table 3), by the optional package pydensecrf2."""

from types import ModuleType
from typing import NamedTuple

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
FULL_CERTAINTY = 99
"""Percent; the energy of a label that is certain beyond doubt would be infinite."""


class CrfSetting(NamedTuple):
    """The numbers of --crf (docs/deviations.md, "Raw maps and DenseCRF").

    label_percent: certainty of the labels that every pixel of the map above 0 is
    tumour and every other is not; 0: the map is the tumour probability.
    """

    reach_px: int
    grey_levels: int
    weight: int
    smoothness_weight: int = SMOOTHNESS_WEIGHT
    iterations: int = ITERATIONS
    label_percent: int = 0


def dense_crf(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """The mask (height, width) of a CAM (h, w) in 0..1 and its RGB patch (height, width, 3).

    The Potts model has a smoothness kernel and an appearance kernel (Krähenbühl & Koltun 2011); see
    `CrfSetting` for `rule.crf`. A map of zeros gives an empty mask.

    Raises EpsamError if the package is not installed.
    """
    densecrf = _import_densecrf()
    height, width = image.shape[:2]
    if not (cam_map > 0).any():
        return np.zeros((height, width), dtype=np.bool_)

    setting = CrfSetting(*rule.crf)
    tumour = tumour_probability(upsample(cam_map, height, width), setting)
    unary = -np.log([1 - tumour, tumour]).reshape(2, -1)
    field = densecrf.DenseCRF2D(width, height, 2)
    # The package takes contiguous float32 only.
    field.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    field.addPairwiseGaussian(sxy=SMOOTHNESS_PX, compat=setting.smoothness_weight)
    field.addPairwiseBilateral(
        sxy=setting.reach_px,
        srgb=setting.grey_levels,
        rgbim=np.ascontiguousarray(image),
        compat=setting.weight,
    )

    beliefs = np.asarray(field.inference(setting.iterations)).reshape(2, height, width)
    normal, positive = beliefs
    return np.asarray(positive > normal)


def tumour_probability(cam_map: CamMap, setting: CrfSetting) -> CamMap:
    """The tumour probability of each pixel of a map in 0..1, before its neighbours are heard."""
    if not setting.label_percent:
        return np.clip(cam_map, UNARY_CLIP, 1 - UNARY_CLIP)
    certainty = min(setting.label_percent, FULL_CERTAINTY) / 100
    return np.where(cam_map > 0, certainty, 1 - certainty).astype(np.float32)


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
