"""Flags of reuse_run.py."""

from dataclasses import dataclass

from epsam.config.common import RunFolderOptions
from epsam.config.flags import flag


@dataclass(frozen=True)
class ReuseOptions(RunFolderOptions):
    """Give a new run what another has finished, up to the preliminary decoder: the rounds after it
    can then be made with corrections.
    """

    source_run: str = flag("", "name of the run whose work is reused", affects_result=False)
