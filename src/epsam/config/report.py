"""Flags of report.py."""

from dataclasses import dataclass

from epsam.config.common import RestartOptions, RunFolderOptions, SplitOptions


@dataclass(frozen=True)
class ReportOptions(RestartOptions, RunFolderOptions, SplitOptions):
    """One page about a run and its patches."""
