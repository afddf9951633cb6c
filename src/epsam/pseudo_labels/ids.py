"""Selection of pseudo-labels by the initial-mask distance score, IDS (paper 3.3.3)."""

from dataclasses import dataclass

from epsam.data.images import Mask


@dataclass(frozen=True)
class PseudoLabelScore:
    """A pseudo-label S against its initial mask I: IDS = |I ∩ S| / |S|, area ratio = |S| / |I|."""

    ids: float
    area_ratio: float


def score_pseudo_label(initial_mask: Mask, pseudo_label: Mask) -> PseudoLabelScore:
    """IDS (the fraction of the pseudo-label that lies in the initial mask) and area ratio of two
    masks (height, width) of the same patch.
    """
    area = int(pseudo_label.sum())
    initial_area = int(initial_mask.sum())
    # An empty pseudo-label scores 0, so that it is never accepted.
    ids = int((initial_mask & pseudo_label).sum()) / area if area else 0.0
    return PseudoLabelScore(ids, area / initial_area if initial_area else 0.0)


def is_accepted(score: PseudoLabelScore, ids_threshold: float, min_area_ratio: float) -> bool:
    """True if the IDS exceeds the threshold and the label is not too small a fraction of I.

    The threshold itself is not enough (docs/deviations.md, "IDS").
    """
    return score.ids > ids_threshold and score.area_ratio >= min_area_ratio
