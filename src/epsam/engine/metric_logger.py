"""What a stage tells while it goes on: for TensorBoard, figures and panels, by the optional package
tensorboard.

metrics.csv and panels/ hold the same, whether or not anybody is told.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from epsam.core.errors import TrainingError
from epsam.data.image_header import image_size_from_header
from epsam.paths import RunPaths

Scalar = tuple[int, str, float]
"""(epoch, name, value)"""


class MetricLogger:
    """Tells nobody."""

    def figures(self, history: Sequence[Scalar]) -> None:
        """Tell what has come since the last call; `history` is everything so far."""

    def picture(self, path: Path, step: int) -> None:
        """Tell a PNG, under the name of its file."""


NULL_LOGGER = MetricLogger()


class TensorBoard(MetricLogger):
    """Writes a folder for TensorBoard.

    A fit that goes on after an interruption tells its whole history again, and TensorBoard is told
    to forget what earlier sessions wrote there: each point is shown once.
    """

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError if the package is not installed."""
        self._events, self._summaries, writers = _libraries()
        self._writer = writers.EventFileWriter(str(folder))
        self._told = 0
        # At the start of a session it drops all points from this step on. Earlier files stay, since
        # it cannot go on from a file that is gone.
        self._add(0, session_log=self._events.SessionLog(status=self._events.SessionLog.START))

    def figures(self, history: Sequence[Scalar]) -> None:
        for epoch, name, value in history[self._told :]:
            self._add(epoch, summary=self._summary(tag=name, simple_value=value))
        self._told = len(history)
        self._writer.flush()

    def picture(self, path: Path, step: int) -> None:
        content = path.read_bytes()
        width, height = image_size_from_header(content) or (0, 0)
        image = self._summaries.Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=content
        )
        self._add(step, summary=self._summary(tag=path.stem, image=image))
        self._writer.flush()

    def _summary(self, **value: Any) -> Any:
        return self._summaries.Summary(value=[self._summaries.Summary.Value(**value)])

    def _add(self, step: int, **event: Any) -> None:
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, **event))


def open_metric_logger(run: RunPaths, task: str, wanted: bool) -> MetricLogger:
    """TensorBoard's folder of a task of the run, or, where it is not wanted, nobody. Raises as
    `TensorBoard` does.
    """
    return TensorBoard(run.tensorboard / task) if wanted else NULL_LOGGER


def _libraries() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import event_file_writer
    except ImportError as error:
        raise TrainingError(
            f"--tensorboard: the package cannot be imported ({error}); run: pip install tensorboard, "
            "or leave the flag out, since metrics.csv holds the same figures"
        ) from error
    return event_pb2, summary_pb2, event_file_writer
