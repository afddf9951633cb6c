"""The keys of results, from what the flags declare (see `epsam.core.artifact`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from epsam.config.flags import (
    default_options,
    options_of_older_versions,
    part_options,
    result_options,
    stored_name,
)
from epsam.core.artifact import Key


def result_key(options: Any, inputs: Mapping[str, str]) -> Key:
    """The key of all that a stage computes with these options from these inputs."""
    key = _key(options, result_options(options), inputs)
    # Records of the oldest versions hold the digest alone, which has none of the later flags.
    older = dataclasses.replace(key, options=options_of_older_versions(options))
    return dataclasses.replace(key, older=(older.digest,))


def part_key(
    options: Any, part: str, inputs: Mapping[str, str], group: type[Any] | None = None
) -> Key:
    """The key of a part of it, by the options of `group` (see `part_options`).

    The inputs have the content of all weights.
    """
    return _key(options, part_options(options, part, group), inputs)


def _key(options: Any, values: Mapping[str, Any], inputs: Mapping[str, str]) -> Key:
    flags = {stored_name(item): item.name for item in dataclasses.fields(options)}
    return Key(values, inputs, default_options(type(options)), flags)
