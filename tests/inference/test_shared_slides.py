"""Slides that several processes share, by claim."""

import pytest

from epsam.inference.inputs import find_slides
from epsam.inference.segment_slides import order_by_tissue
from support.processes import run_in_processes
from support.shared_slides import (
    find_leftovers,
    segment_shared,
    segment_with_kills,
    write_many_slides,
)
from support.slide_runs import segment_all
from support.untimed import contents


def test_slides_with_the_most_tissue_come_first_and_damaged_ones_last(tmp_path):
    slides = find_slides(write_many_slides(tmp_path / "slides", 4))
    assert [slide.name for slide in slides] == ["broken", "s000", "s001", "s002", "s003"]
    ordered = [slide.name for slide in order_by_tissue(slides, slide_mpp=0.0)]
    assert ordered == ["s003", "s002", "s001", "s000", "broken"]


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_segment_each_slide_once_those_with_the_most_tissue_first(tmp_path):
    slides = write_many_slides(tmp_path / "slides", 6)
    results = run_in_processes(
        segment_shared, 2, tmp_path / "processes", slides, tmp_path / "shared"
    )
    by_process = [names for names, _ in results]
    # s000 has the least tissue, and the damaged slide has none.
    assert all(names == sorted(names, reverse=True) for names in by_process)
    assert sorted(name for names in by_process for name in names) == [f"s00{i}" for i in range(6)]
    # The main process has waited for all others.
    assert results[0][1] == ["broken", *(f"s00{i}" for i in range(6))]
    segment_all(find_slides(slides), tmp_path / "shared")
    segment_all(find_slides(slides), tmp_path / "one")
    assert contents(tmp_path / "shared") == contents(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("n_slides", "n_kills"), [(40, 12), (300, 60)])
def test_four_runs_that_are_killed_at_random_leave_the_results_of_one(tmp_path, n_slides, n_kills):
    slides = write_many_slides(tmp_path / "slides", n_slides)
    assert segment_with_kills(slides, tmp_path / "shared", n_kills) == n_kills
    segment_all(find_slides(slides), tmp_path / "one")
    assert contents(tmp_path / "shared") == contents(tmp_path / "one")
    assert find_leftovers(tmp_path / "shared") == []
