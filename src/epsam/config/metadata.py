"""Checkpoint metadata: the options a checkpoint was trained with, which its users take over."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

OptionGroup = TypeVar("OptionGroup")


def select_fields(group: type[Any], options: Any) -> dict[str, Any]:
    """The values that `options` has for the fields of the dataclass `group`, by name."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(group)}


def explicit_fields(group: type[Any], options: Any) -> dict[str, Any]:
    """As `select_fields`, without values that are 0 or empty: the user did not give those."""
    values = select_fields(group, options)
    return {name: value for name, value in values.items() if value}


def merge_fields(group: type[OptionGroup], *sources: Mapping[str, Any]) -> OptionGroup:
    """A `group` whose every field comes from the first source that has it, or is the default."""
    values = {}
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        for source in sources:
            if field.name in source:
                values[field.name] = source[field.name]
                break
    return group(**values)
