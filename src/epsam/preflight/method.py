"""Does the method have the constants that METHOD_PRESET asks for?"""

from collections.abc import Iterator

from epsam.config.method_presets import DEFAULT, METHOD_PRESETS
from epsam.preflight.finding import Finding, note


def check_method_preset(recipe: str, method_preset: str) -> Iterator[Finding]:
    """A note if no constants of this preset are known for the method: it then changes nothing."""
    if method_preset != DEFAULT and recipe not in METHOD_PRESETS[method_preset]:
        yield note(
            f"METHOD_PRESET {method_preset}: no constants of {recipe} are known; those of this "
            "project stand"
        )
