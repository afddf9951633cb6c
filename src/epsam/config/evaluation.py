"""Flags of evaluate.py."""

from dataclasses import dataclass

from epsam.config.common import (
    LoggerOptions,
    RecipeOptions,
    RestartOptions,
    RunOptions,
    SeedOptions,
    SplitOptions,
)
from epsam.config.flags import flag
from epsam.config.inference import GateOptions, MaskThresholdOptions
from epsam.config.sam import CacheOptions, PromptOverrides, SamOptions


@dataclass(frozen=True)
class EvaluateOptions(
    PromptOverrides,
    GateOptions,
    MaskThresholdOptions,
    SamOptions,
    CacheOptions,
    SeedOptions,
    RecipeOptions,
    LoggerOptions,
    RestartOptions,
    RunOptions,
    SplitOptions,
):
    """Scores and panels of all masks and decoders of a run."""

    batch_size: int = flag(4, "batch size", at_least=1, affects_result=True)
