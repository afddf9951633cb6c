import pytest

from epsam.core.errors import EpsamError
from pretrain_demo_sam import PHASES, phases_from


def test_pretraining_begins_with_the_phase_of_that_name():
    assert phases_from("") == PHASES
    assert [phase.name for phase in phases_from("grains")] == ["grains", "all"]


def test_a_phase_that_does_not_exist_is_refused_with_the_names_of_those_that_do():
    with pytest.raises(
        EpsamError, match="'nope' is none of .*; give one of encoder, decoder, both, grains, all"
    ):
        phases_from("nope")
