"""Which pseudo-labels are kept: the initial-mask distance score, IDS (paper 3.3.3)."""

from dataclasses import dataclass

from epsam.data.images import Mask


@dataclass(frozen=True)
class PseudoLabelScore:
    """How a pseudo-label S lies beside its initial mask I: IDS = |I ∩ S| / |S|, area ratio = |S| /
    |I|.
    """

    ids: float
    area_ratio: float


def score_pseudo_label(initial: Mask, pseudo: Mask) -> PseudoLabelScore:
    """IDS and area ratio of two masks (height, width) of the same patch; an empty S scores 0 and is
    never kept.
    """
    area, initial_area = int(pseudo.sum()), int(initial.sum())
    ids = int((initial & pseudo).sum()) / area if area else 0.0
    return PseudoLabelScore(ids, area / initial_area if initial_area else 0.0)


def is_accepted(score: PseudoLabelScore, ids_threshold: float, min_area_ratio: float) -> bool:
    """True if IDS is strictly above the threshold (methods D29) and the label is not too small a
    part of I.
    """
    return score.ids > ids_threshold and score.area_ratio >= min_area_ratio
