"""Do the flags of a method's stages fit one another, and has it the constants of METHOD_PRESET?"""

from collections.abc import Iterator, Mapping
from typing import Any

from epsam.config.decoder import DecoderOptions
from epsam.config.method_presets import DEFAULT, METHOD_PRESETS
from epsam.preflight.finding import Finding, note, problem


def check_method_preset(recipe: str, method_preset: str) -> Iterator[Finding]:
    """A note if no constants of this preset are known for the method: it then changes nothing."""
    if method_preset != DEFAULT and recipe not in METHOD_PRESETS[method_preset]:
        yield note(
            f"METHOD_PRESET {method_preset}: no constants of {recipe} are known; those of this "
            "project stand"
        )


def check_soft_targets(of_stage: Mapping[str, Any]) -> Iterator[Finding]:
    """Rounds with --soft_targets need the probabilities that the preliminary decoder's stage writes
    with that flag alone; without this check they fail only after it.

    of_stage: the options of each stage; a method without rounds has nothing to check.
    """
    if "retrain_decoder" not in of_stage:
        return
    preliminary: DecoderOptions = of_stage["finetune_decoder"]
    rounds: DecoderOptions = of_stage["retrain_decoder"]
    if rounds.soft_targets and not preliminary.soft_targets:
        yield problem(
            "RETRAIN_FLAGS have --soft_targets and DECODER_FLAGS have not: round 1 would find no "
            "probabilities to fit to; give it in DECODER_FLAGS, too"
        )
