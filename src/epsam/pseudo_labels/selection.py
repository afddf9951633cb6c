"""The slot of pseudo-label selection: which masks the next round learns from."""

from dataclasses import dataclass
from typing import Protocol

from epsam.config.decoder import SelectionOptions
from epsam.data.images import Mask
from epsam.methods import SELECTIONS, load_function
from epsam.pseudo_labels.ids import PseudoLabelScore, is_accepted, score_pseudo_label


@dataclass(frozen=True)
class Decision:
    """Whether a pseudo-label is accepted, and the score behind it."""

    accepted: bool
    score: PseudoLabelScore


class PseudoLabelSelection(Protocol):
    """Decides on each pseudo-label by itself, without its ground truth."""

    def decide(self, initial_mask: Mask, pseudo_label: Mask) -> Decision:
        """The decision on a mask (height, width), given the patch's initial mask."""
        ...


@dataclass(frozen=True)
class IdsSelection:
    """The paper's selection: IDS above a threshold, and an area that is not too small (3.3.3)."""

    ids_threshold: float
    min_area_ratio: float

    def decide(self, initial_mask: Mask, pseudo_label: Mask) -> Decision:
        """See `PseudoLabelSelection`."""
        score = score_pseudo_label(initial_mask, pseudo_label)
        return Decision(is_accepted(score, self.ids_threshold, self.min_area_ratio), score)


@dataclass(frozen=True)
class AllSelection:
    """Every pseudo-label that is not empty; IDS and area ratio are only reported."""

    def decide(self, initial_mask: Mask, pseudo_label: Mask) -> Decision:
        """See `PseudoLabelSelection`."""
        score = score_pseudo_label(initial_mask, pseudo_label)
        return Decision(bool(pseudo_label.any()), score)


def select_by_ids(options: SelectionOptions) -> IdsSelection:
    """The row `ids`."""
    return IdsSelection(options.ids_threshold, options.min_area_ratio)


def select_all(options: SelectionOptions) -> AllSelection:
    """The row `all`."""
    return AllSelection()


def build_selection(options: SelectionOptions) -> PseudoLabelSelection:
    """The selection of --selection, by its row in `methods.SELECTIONS`."""
    build = load_function(SELECTIONS, "--selection", options.selection)
    selection: PseudoLabelSelection = build(options)
    return selection
