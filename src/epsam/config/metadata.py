"""The facts that a checkpoint keeps of its making, so that whoever uses it does as its maker
did.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

Part = TypeVar("Part")


def select_fields(kind: type[Any], options: Any) -> dict[str, Any]:
    """The values that `options` has for the fields of the dataclass `kind`, by name."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}


def explicit_fields(kind: type[Any], options: Any) -> dict[str, Any]:
    """The values that `options` has for the fields of `kind`, without those that are 0 or empty:
    not given.
    """
    return {name: value for name, value in select_fields(kind, options).items() if value}


def merge_fields(kind: type[Part], *sources: Mapping[str, Any]) -> Part:
    """A `kind` whose every field comes from the first source that has it, or is the default."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    found = {
        name: next(source[name] for source in sources if name in source)
        for name in names
        if any(name in source for source in sources)
    }
    return kind(**found)
