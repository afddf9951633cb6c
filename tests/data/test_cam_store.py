import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.data.cam_store import CamStore, load_cams, save_cams


def test_maps_come_back_by_name(tmp_path):
    maps = {"b_1": np.full((2, 3), 0.5, np.float32), "a_1": np.zeros((2, 3), np.float32)}
    save_cams(tmp_path / "train.npz", CamStore("abc", maps, {"a_1": 0.25, "b_1": 1.0}))
    cams = load_cams(tmp_path / "train.npz", "abc")
    assert np.array_equal(cams.maps["b_1"], maps["b_1"])
    assert cams.probabilities == {"a_1": 0.25, "b_1": 1.0}


def test_an_empty_store_comes_back_empty(tmp_path):
    save_cams(tmp_path / "test.npz", CamStore("abc", {}, {}))
    assert load_cams(tmp_path / "test.npz", "abc").maps == {}


def test_maps_of_another_classifier_are_refused(tmp_path):
    save_cams(tmp_path / "train.npz", CamStore("abc", {}, {}))
    with pytest.raises(DatasetError, match="another classifier"):
        load_cams(tmp_path / "train.npz", "xyz")


@pytest.mark.parametrize(
    "content", [None, b"", b"PK\x03\x04 cut"], ids=["missing", "empty", "cut short"]
)
def test_unreadable_maps_name_the_stage_that_makes_them(tmp_path, content):
    if content is not None:
        (tmp_path / "train.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"run generate_initial_masks\.py"):
        load_cams(tmp_path / "train.npz", "abc")
