"""What a flag is: a field of an options dataclass that knows its help, its source and whether it matters."""

from dataclasses import field, fields
from typing import Any


def flag(default: Any, text: str, *, source: str = "ours", choices: tuple[str, ...] = (), material: bool = True) -> Any:
    """A dataclass field that is also a command-line flag; `source` says where the default comes from.

    `material`: False if it says where, how far or how conveniently a stage runs, not what it computes.
    """
    return field(default=default, metadata={"help": text, "source": source, "choices": choices, "material": material})


def material_part(options: Any) -> dict[str, Any]:
    """The options, by name, that decide what a stage computes."""
    return {each.name: getattr(options, each.name) for each in fields(options) if each.metadata["material"]}
