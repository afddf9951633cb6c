"""Flags of report.py."""

from dataclasses import dataclass

from epsam.config.common import RunFolderOptions, SplitOptions


@dataclass(frozen=True)
class ReportOptions(RunFolderOptions, SplitOptions):
    """One page about a run and its patches."""
