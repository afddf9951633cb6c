"""A fit that several processes share: resumed by another number of them, and stopped by any."""

import signal

import pytest

from support.processes import run_in_processes
from support.shared_fits import fit_small


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    (result,) = run_in_processes(fit_small, 1, folder, folder / "fit.pth")
    return result


def test_a_fit_that_four_began_two_and_one_end_has_the_bits_of_one_that_ran_through(
    tmp_path, uninterrupted
):
    checkpoint = tmp_path / "fit.pth"
    # A process of four computes one leaf of a batch: its fourth loss is in the second epoch. The
    # signal comes to the third process alone, and all end after the same step.
    arguments = (fit_small, 4, tmp_path / "4", checkpoint, 4, 4, 2)
    assert run_in_processes(*arguments) == ["interrupted"] * 4
    # Two leaves a step: the second step, in the same epoch as before; the signal that
    # scripts pass on.
    arguments = (fit_small, 2, tmp_path / "2", checkpoint, 4, 2, 1, signal.SIGUSR1)
    assert run_in_processes(*arguments) == ["interrupted"] * 2
    assert run_in_processes(fit_small, 1, tmp_path / "1", checkpoint) == [uninterrupted]


def test_a_fit_with_other_leaves_ends_with_other_bits(tmp_path, uninterrupted):
    # The negative control: the comparison above can tell two results apart.
    (other,) = run_in_processes(fit_small, 1, tmp_path, tmp_path / "fit.pth", 2)
    assert other[0] != uninterrupted[0]
