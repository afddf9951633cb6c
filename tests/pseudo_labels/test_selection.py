"""Rows of SELECTIONS, on masks of four pixels."""

import numpy as np
import pytest

from epsam.config.decoder import SelectionOptions
from epsam.core.errors import EpsamError
from epsam.pseudo_labels.selection import build_selection

INITIAL = np.array([[True, True], [False, False]])
INSIDE = np.array([[True, False], [False, False]])
BESIDE = np.array([[False, False], [True, True]])
EMPTY = np.zeros((2, 2), np.bool_)


def accepted(label, **options):
    return build_selection(SelectionOptions(**options)).decide(INITIAL, label).accepted


def test_ids_accepts_by_threshold_and_area():
    assert [accepted(label) for label in (INSIDE, BESIDE, EMPTY)] == [True, False, False]
    assert not accepted(INSIDE, min_area_ratio=0.6)
    assert not accepted(INSIDE, ids_threshold=1.0)


def test_all_accepts_every_label_that_is_not_empty_and_reports_its_ids():
    assert [accepted(label, selection="all") for label in (INSIDE, BESIDE, EMPTY)] == [
        True,
        True,
        False,
    ]
    decision = build_selection(SelectionOptions(selection="all")).decide(INITIAL, BESIDE)
    assert (decision.score.ids, decision.score.area_ratio) == (0.0, 1.0)


def test_a_row_that_this_copy_lacks_is_named():
    with pytest.raises(EpsamError, match="--selection teacher: not known here; use ids, all"):
        build_selection(SelectionOptions(selection="teacher"))
