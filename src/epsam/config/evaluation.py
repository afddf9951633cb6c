"""Flags of evaluate.py."""

from dataclasses import dataclass

from epsam.config.common import LoggerOptions, RunOptions, SeedOptions, SplitOptions
from epsam.config.flags import flag
from epsam.config.sam import CacheOptions, PromptOverrides, SamOptions


@dataclass(frozen=True)
class EvaluateOptions(
    LoggerOptions, CacheOptions, PromptOverrides, SamOptions, SeedOptions, RunOptions, SplitOptions
):
    """Scores and pictures of everything that a run kept."""

    batch_size: int = flag(4, "patches a pass", at_least=1)
