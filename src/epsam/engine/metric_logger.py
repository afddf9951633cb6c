"""Live metrics and panels of a stage: to TensorBoard, if its package is installed and asked for.

metrics.csv and panels/ hold the same, with or without a logger.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from epsam.core.distributed import is_main_process
from epsam.core.errors import TrainingError
from epsam.data.image_header import image_size_from_header
from epsam.paths import RunPaths

Scalar = tuple[int, str, float]
"""(epoch, name, value)"""


class MetricLogger(Protocol):
    """Where a stage sends its metrics and images while it runs."""

    def log_scalars(self, history: Sequence[Scalar]) -> None:
        """Log what is new since the last call; `history` holds everything so far."""

    def log_image(self, path: Path, step: int) -> None:
        """Log a PNG under the name of its file."""


class NullLogger:
    """Logs nothing."""

    def log_scalars(self, history: Sequence[Scalar]) -> None:
        """Ignore the metrics."""

    def log_image(self, path: Path, step: int) -> None:
        """Ignore the image."""


NULL_LOGGER = NullLogger()


class TensorBoard:
    """Writes a folder for TensorBoard.

    A resumed fit logs its whole history again, and TensorBoard drops what earlier sessions wrote:
    each point appears once.
    """

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError if the package is not installed."""
        self._events, self._summaries, writers = _import_tensorboard()
        self._writer = writers.EventFileWriter(str(folder))
        self._logged = 0
        # A session's START drops all points from this step on. Earlier files stay, since
        # TensorBoard cannot go on from a file that is gone.
        self._add(0, session_log=self._events.SessionLog(status=self._events.SessionLog.START))

    def log_scalars(self, history: Sequence[Scalar]) -> None:
        for epoch, name, value in history[self._logged :]:
            self._add(epoch, summary=self._summary(tag=name, simple_value=value))
        # `history` only grows; the next call logs from here on.
        self._logged = len(history)
        self._writer.flush()

    def log_image(self, path: Path, step: int) -> None:
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


def open_metric_logger(run: RunPaths, task: str, enabled: bool) -> MetricLogger:
    """TensorBoard in the task's folder of the run; a logger that logs nothing if not enabled, or
    in a process that is not the main one.

    Raises TrainingError if TensorBoard is enabled and its package is not installed.
    """
    return TensorBoard(run.tensorboard / task) if enabled and is_main_process() else NULL_LOGGER


def _import_tensorboard() -> tuple[ModuleType, ModuleType, ModuleType]:
    # Imported here, as the package is optional and takes seconds to load.
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import event_file_writer
    except ImportError as error:
        raise TrainingError(
            f"--tensorboard: the package cannot be imported ({error}); run: "
            "pip install tensorboard, or leave the flag out: metrics.csv holds the same metrics"
        ) from error
    return event_pb2, summary_pb2, event_file_writer
