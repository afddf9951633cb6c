"""What a run cost, from what its stages have recorded: seconds, peak memory, trained parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from epsam.core.checkpoints import load_plain
from epsam.core.files import read_json
from epsam.paths import RunPaths
from epsam.stage_files import stage_of_completion

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of what batch norm counts along: no parameters."""
_FROZEN_CLASSIFIER = "classifier."
"""A segmenter with a gate holds the run's classifier, which has a checkpoint of its own."""


@dataclass(frozen=True)
class RunCost:
    """The cost of a run's training.

    seconds: wall time of all training stages. peak_gib: the highest peak of any of them, of the GPU
    where there was one, else of the process. parameters: of the classifier and of what the training
    ends with.
    """

    seconds: float
    peak_gib: float
    parameters: int


def read_cost(run: RunPaths) -> RunCost:
    """The cost of a run; 0 where nothing is recorded."""
    seconds = 0.0
    peak_gib = 0.0
    record = read_json(run.record) if run.record.is_file() else {}
    for completion, entry in record.items():
        if not _trains(completion):
            continue
        # After an interruption, the stage's seconds are those of its last session alone.
        seconds += max(entry["seconds"], entry.get("fit_seconds", 0.0))
        peak_gib = max(peak_gib, entry.get("peak_gpu_gib", entry.get("peak_ram_gib", 0.0)))

    parameters = 0
    for path in _list_checkpoints(run):
        parameters += count_parameters(path)
    return RunCost(seconds, peak_gib, parameters)


def count_parameters(path: Path) -> int:
    """The parameters in a checkpoint, without those of a classifier inside of a segmenter."""
    number = 0
    for name, tensor in load_plain(path)["model"].items():
        is_buffer = name.rpartition(".")[2] in _BUFFERS
        if not is_buffer and not name.startswith(_FROZEN_CLASSIFIER):
            number += tensor.numel()
    return number


def _trains(completion: str) -> bool:
    try:
        return stage_of_completion(completion)[0].trains
    except KeyError:
        return False


def _list_checkpoints(run: RunPaths) -> Iterator[Path]:
    """The classifier, and the segmenter or the last decoder, of those that the run has."""
    if run.classifier.is_file():
        yield run.classifier
    number = 0
    while run.round_decoder(number + 1).is_file():
        number += 1
    for path in (run.segmenter, run.round_decoder(number)):
        if path.is_file():
            yield path
            return
