from pathlib import Path

import pytest

from epsam.config.common import StageOptions
from epsam.core.errors import DatasetError
from epsam.paths import DatasetPaths, RunPaths


@pytest.mark.parametrize("name", ["..", "../other", "a/../../b", "/", "/etc", ".", "./"])
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(
        DatasetError, match=r"--run .* is no folder of checkpoints/; give a plain name"
    ):
        RunPaths.of(StageOptions(run=name))
    with pytest.raises(DatasetError, match=r"--dataset_type .* is no folder of dataset/"):
        DatasetPaths.of(StageOptions(dataset_type=name))


@pytest.mark.parametrize(
    "name", ["a b", "-rf", "new\nline", "ablation/paper/seed_22", "ünï-日本", "a..b"]
)
def test_other_odd_names_are_folders(name):
    assert RunPaths.of(StageOptions(run=name)).root == Path("checkpoints") / name
    assert DatasetPaths.of(StageOptions(dataset_type=name)).root == Path("dataset") / name
