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
    events = accumulators.EventAccumulator(str(folder))
    events.Reload()
    scalars = []
    for tag in events.Tags()["scalars"]:
        scalars += [(event.step, tag, round(event.value, 6)) for event in events.Scalars(tag)]
    return scalars, events


def test_nothing_is_logged_unless_enabled(tmp_path):
    logger = open_metric_logger(RunPaths(tmp_path), "classifier", False)
    assert logger is NULL_LOGGER
    logger.log_scalars([(1, "loss", 0.5)])
    assert list(tmp_path.iterdir()) == []


def test_each_point_appears_once_though_a_resumed_session_logs_all_again(tmp_path):
    pytest.importorskip("tensorboard")
    history = [(1, "loss", 0.5), (1, "dice", 0.25), (2, "loss", 0.4)]
    first = open_metric_logger(RunPaths(tmp_path), "decoder_1", True)
    for length in (0, 2, 3):
        first.log_scalars(history[:length])
    # The second session resumes after the first epoch, and its second epoch has other values.
    second = open_metric_logger(RunPaths(tmp_path), "decoder_1", True)
    for rows in (history[:2], [*history[:2], (2, "loss", 0.3), (2, "dice", 0.75)]):
        second.log_scalars(rows)
    scalars, _ = read_back(tmp_path / "tensorboard" / "decoder_1")
    assert Counter((step, tag) for step, tag, _ in scalars) == {
        (1, "loss"): 1,
        (2, "loss"): 1,
        (1, "dice"): 1,
        (2, "dice"): 1,
    }
    assert (2, "loss", 0.3) in scalars


def test_an_open_tensorboard_drops_the_points_of_an_earlier_session(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    TensorBoard(tmp_path / "a").log_scalars([(1, "loss", 0.5), (2, "loss", 0.4)])
    watching = accumulators.EventAccumulator(str(tmp_path / "a"))
    watching.Reload()
    TensorBoard(tmp_path / "a").log_scalars([(1, "loss", 0.5)])
    watching.Reload()
    assert [event.step for event in watching.Scalars("loss")] == [1]


def test_a_logged_panel_keeps_its_pixels(tmp_path):
    pytest.importorskip("tensorboard")
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    write_rgb(tmp_path / "decoder_1.png", image)
    TensorBoard(tmp_path / "log").log_image(tmp_path / "decoder_1.png", 3)
    _, events = read_back(tmp_path / "log")
    (event,) = events.Images("decoder_1")
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
