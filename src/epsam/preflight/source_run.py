"""Are there pseudo-labels for a segmenter that learns from those of another run?"""

from collections.abc import Iterator

from epsam.config.segmenter import SegmenterOptions
from epsam.paths import RunPaths
from epsam.preflight.finding import Finding, problem
from epsam.training.source_run import FLAG, require_source_run


def check_source_run(options: SegmenterOptions) -> Iterator[Finding]:
    """--targets pseudo has a finished run to take them from. Raises TrainingError for an unfinished
    one.
    """
    if options.targets != "pseudo":
        return
    if options.from_run:
        require_source_run(options)
    elif not RunPaths.of(options).pseudo_masks(0).is_dir():
        yield problem(
            f"{FLAG}: names no run, and this method makes no pseudo-labels itself; name a finished "
            "run of METHOD=ep_sam, such as FROM=demo"
        )
