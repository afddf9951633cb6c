import pytest

from epsam.core.errors import WeightsError
from epsam.inference.loading import find_last_decoder
from epsam.paths import RunPaths


def test_the_last_decoder_is_that_of_the_highest_round(tmp_path):
    run = RunPaths(tmp_path)
    with pytest.raises(WeightsError, match="no trained decoder there"):
        find_last_decoder(run)
    # The tenth round comes after the second, though not in the order of names.
    for number in (0, 1, 2, 10):
        run.round_decoder(number).touch()
        assert find_last_decoder(run) == run.round_decoder(number)
