"""Flags of next_slides.py."""

from dataclasses import dataclass

from epsam.config.common import DebugOptions
from epsam.config.flags import flag


@dataclass(frozen=True)
class NextSlidesOptions(DebugOptions):
    """Name the patches of a run, or the slides and places of results, where a correction would help
    most.
    """

    folder: str = flag(
        "", "folder of a run in checkpoints/, or output folder of infer.sh", affects_result=False
    )
    corrections: str = flag(
        "corrections",
        "folder of corrections; what was reviewed there is left out",
        affects_result=False,
    )
    slides: tuple[str, ...] = flag(
        (),
        "folders of the slides, which may have moved; empty: those that the results name",
        affects_result=False,
    )
    count: int = flag(20, "rows of the table", at_least=1, affects_result=False)
    output: str = flag(
        "", "file of the table, CSV; empty: next_slides.csv in --corrections", affects_result=False
    )
