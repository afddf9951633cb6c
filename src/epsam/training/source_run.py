"""The finished EP-SAM run whose pseudo-labels another method learns from (--from_run)."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from epsam.config.segmenter import SegmenterOptions
from epsam.core.errors import DatasetError, TrainingError
from epsam.core.files import digest_of_files, read_json, sha256_of, whole_file
from epsam.data.patches import Patch
from epsam.engine.replacement import OUTDATED
from epsam.engine.stage import find_degenerate_outputs, read_completion_record
from epsam.paths import RunPaths
from epsam.training.round_data import CLASSIFIER_FILE

FLAG = "--from_run (FROM of train.sh)"


def find_source_run(options: SegmenterOptions) -> RunPaths:
    """The run of --from_run; the run itself if that names none."""
    if not options.from_run:
        return RunPaths.of(options)
    source = RunPaths(Path(options.checkpoint_root) / options.from_run)
    if not source.root.is_dir():
        raise TrainingError(
            f"{FLAG} {options.from_run}: {options.checkpoint_root} has no such run; name one that "
            "./train.sh has finished"
        )
    return source


def require_source_run(options: SegmenterOptions) -> int:
    """The number of the last round of the run of --from_run.

    Raises TrainingError if there is no such run, if it has no rounds, if they are not finished, or
    if its classifier is gone.
    """
    source = find_source_run(options)
    number = _last_finished_round(source)
    n_iter = _planned_rounds(source, number)
    if not number or number < n_iter:
        rounds = f"{number} of {n_iter} rounds" if n_iter else "no round"
        raise TrainingError(
            f"{FLAG} {options.from_run}: that run has finished {rounds} of retraining; finish it "
            "with METHOD=ep_sam ./train.sh, or name another run"
        )

    degenerate_output = find_degenerate_outputs(source).get(f"decoder_{number}", "")
    if degenerate_output and not options.allow_degenerate:
        raise TrainingError(
            f"{FLAG} {options.from_run}: nothing to learn from, {degenerate_output}; name another "
            "run, or go on with --allow_degenerate"
        )
    find_source_classifier(options)
    return number


def find_source_classifier(options: SegmenterOptions) -> Path:
    """The classifier that the masks of the run of --from_run come from.

    Raises TrainingError if it is missing, or another one by now.
    """
    source = find_source_run(options)
    rule = read_json(source.mask_rule) if source.mask_rule.is_file() else {}
    classifier = Path(rule.get(CLASSIFIER_FILE, source.classifier))
    # A run's own classifier outdates the rounds when it is trained again.
    checksum = rule.get("classifier_sha256")
    if not classifier.is_file() or checksum not in (None, sha256_of(classifier)):
        raise TrainingError(
            f"{classifier}: missing, or not the classifier of the run {options.from_run} any more, "
            f"whose scores are the gate; put it back, or name another run by {FLAG}"
        )
    return classifier


def copy_gate_classifier(options: SegmenterOptions, run: RunPaths) -> list[Path]:
    """Give a segmenter of another run's pseudo-labels that run's classifier, whose scores say which
    patches are segmented; returns the copy, nothing for other targets.
    """
    # That of an earlier training would gate this one.
    run.gate_classifier.unlink(missing_ok=True)
    if options.targets != "pseudo" or not options.from_run:
        return []
    # A copy, so that inference does not depend on the other run.
    with whole_file(run.gate_classifier) as temporary:
        shutil.copyfile(find_source_classifier(options), temporary)
    return [run.gate_classifier]


def require_same_patches(source: RunPaths, number: int, positives: Sequence[Patch]) -> None:
    """Raise TrainingError if round `number` of `source` was trained on other patches."""
    record = read_completion_record(_completion_record(source, number))
    digest = digest_of_files(patch.image for patch in positives)
    if record.get("inputs", {}).get("train", digest) != digest:
        raise TrainingError(
            f"{FLAG} {source.root.name}: its training patches are others than these; name a run of "
            "the same dataset, or train it again"
        )


def _completion_record(run: RunPaths, number: int) -> Path:
    return run.root / "stages" / f"decoder_{number}.json"


def _last_finished_round(run: RunPaths) -> int:
    """The last round up to which all are complete; 0 if not even the first is."""
    number = 0
    while _is_complete(_completion_record(run, number + 1)):
        number += 1
    return number


def _is_complete(record: Path) -> bool:
    try:
        return OUTDATED not in read_completion_record(record)
    except (OSError, DatasetError):
        return False


def _planned_rounds(run: RunPaths, number: int) -> int:
    """How many rounds the run was last started with; 0 if it has not come so far."""
    try:
        options = read_json(run.options)
    except (OSError, DatasetError):
        return 0
    return int(options.get(f"decoder_{number}", {}).get("n_iter", 0))
