import sys
from collections import Counter

import numpy as np
import pytest

from epsam.core.errors import TrainingError
from epsam.data.images import read_rgb, write_rgb
from epsam.engine.metric_logger import NULL_LOGGER, TensorBoard, open_metric_logger
from epsam.paths import RunPaths


def read_back(folder):
    """Scalars (step, tag, value) and the accumulator, as TensorBoard itself reads them."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(folder))
    found.Reload()
    tags = found.Tags()["scalars"]
    return [
        (event.step, tag, round(event.value, 6)) for tag in tags for event in found.Scalars(tag)
    ], found


def test_nobody_is_told_unless_it_is_wanted(tmp_path):
    found = open_metric_logger(RunPaths(tmp_path), "classifier", False)
    assert found is NULL_LOGGER
    found.figures([(1, "loss", 0.5)])
    assert list(tmp_path.iterdir()) == []


def test_each_point_is_told_once_and_a_session_tells_all_again(tmp_path):
    pytest.importorskip("tensorboard")
    history = [(1, "loss", 0.5), (1, "dice", 0.25), (2, "loss", 0.4)]
    first = open_metric_logger(RunPaths(tmp_path), "decoder_1", True)
    for length in (0, 2, 3):
        first.figures(history[:length])
    # The second session goes on after the first epoch, whose second epoch it finds other figures
    # for.
    second = open_metric_logger(RunPaths(tmp_path), "decoder_1", True)
    for rows in (history[:2], [*history[:2], (2, "loss", 0.3), (2, "dice", 0.75)]):
        second.figures(rows)
    found, _ = read_back(tmp_path / "tensorboard" / "decoder_1")
    assert Counter((step, tag) for step, tag, _ in found) == {
        (1, "loss"): 1,
        (2, "loss"): 1,
        (1, "dice"): 1,
        (2, "dice"): 1,
    }
    assert (2, "loss", 0.3) in found


def test_a_board_that_is_open_forgets_what_an_earlier_session_told(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    TensorBoard(tmp_path / "a").figures([(1, "loss", 0.5), (2, "loss", 0.4)])
    watching = accumulators.EventAccumulator(str(tmp_path / "a"))
    watching.Reload()
    TensorBoard(tmp_path / "a").figures([(1, "loss", 0.5)])
    watching.Reload()
    assert [event.step for event in watching.Scalars("loss")] == [1]


def test_a_panel_is_told_as_it_is(tmp_path):
    pytest.importorskip("tensorboard")
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    write_rgb(tmp_path / "decoder_1.png", image)
    TensorBoard(tmp_path / "log").picture(tmp_path / "decoder_1.png", 3)
    _, found = read_back(tmp_path / "log")
    (event,) = found.Images("decoder_1")
    assert (event.step, event.width, event.height) == (3, 7, 5)
    (tmp_path / "again.png").write_bytes(event.encoded_image_string)
    assert np.array_equal(read_rgb(tmp_path / "again.png"), image)


def test_without_the_package_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        TrainingError, match=r"--tensorboard: .* run: pip install tensorboard"
    ) as error:
        open_metric_logger(RunPaths(tmp_path), "classifier", True)
    assert "\n" not in str(error.value)
