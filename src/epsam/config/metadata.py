"""Checkpoint metadata: the options a checkpoint was trained with, which its users take over."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from epsam.config.flags import read_stored, stored_name, stored_value

OptionGroup = TypeVar("OptionGroup")


def select_fields(group: type[Any], options: Any) -> dict[str, Any]:
    """What `options` has for the fields of the dataclass `group`, as it is written to disk."""
    stored = {}
    for field in dataclasses.fields(group):
        stored[stored_name(field)] = stored_value(field, getattr(options, field.name))
    return stored


def explicit_fields(group: type[Any], options: Any) -> dict[str, Any]:
    """What `options` has for the fields of `group`, by name, unless it is 0 or empty: not given."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(group)}
    return {name: value for name, value in values.items() if value}


def merge_fields(group: type[OptionGroup], *sources: Mapping[str, Any]) -> OptionGroup:
    """A `group` whose every field comes from the first source that has it, or is the default.

    A source may come from disk or from `explicit_fields`: either spelling is understood.
    """
    values: dict[str, Any] = {}
    for source in reversed(sources):
        values.update(read_stored(group, source))
    return group(**values)
