"""What the groups of annotations mean: ASAP's groups and QuPath's classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from epsam.annotations.polygons import Annotations, Polygon
from epsam.config.common import AnnotationOptions
from epsam.core.errors import AnnotationError, DatasetError

TUMOUR, HOLE = "tumour", "hole"
NO_GROUP = "None"
"""What ASAP writes for a shape that is in no group."""

GROUPS = {
    "metastases": TUMOUR,
    "_0": TUMOUR,
    "_1": TUMOUR,
    "Tumor": TUMOUR,
    "Tumour": TUMOUR,
    "normal": HOLE,
    "_2": HOLE,
    "Exclusion": HOLE,
    NO_GROUP: HOLE,
}
"""Annotation group → what it means, in the vocabularies of CAMELYON16 (as NCRF lists it),
CAMELYON17 and QuPath: docs/deviations.md, "Annotation groups".
"""

MAX_QUOTED = 50  # this project: characters of a name that a message repeats


@dataclass(frozen=True)
class GroupNames:
    """The groups that a user names beside those of `GROUPS`."""

    tumour: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: AnnotationOptions) -> "GroupNames":
        """The groups of --tumour_groups and --hole_groups. Raises DatasetError on one in both."""
        groups = cls(options.tumour_groups, options.hole_groups)
        holes = {normalize_group(name) for name in groups.holes}
        for name in groups.tumour:
            if normalize_group(name) in holes:
                raise DatasetError(
                    f"--tumour_groups {name}: is in --hole_groups, too; name it in one of them"
                )
        return groups

    @cached_property
    def meanings(self) -> Mapping[str, str]:
        """Normalized name → meaning; the user's names win."""
        meanings = {}
        for name, meaning in GROUPS.items():
            meanings[normalize_group(name)] = meaning
        for meaning, names in ((TUMOUR, self.tumour), (HOLE, self.holes)):
            meanings.update(dict.fromkeys(map(normalize_group, names), meaning))
        return meanings

    def find_meaning(self, group: str) -> str:
        """What a group means by its name; empty if the name says nothing."""
        return self.meanings.get(normalize_group(group), "")


BUILT_IN = GroupNames()
"""The groups of `GROUPS` alone."""


def normalize_group(name: str) -> str:
    """A group's name without spaces and in lower case: `Tumor ` and `tumor` are one group."""
    return "".join(name.split()).casefold()


def sort_polygons(
    path: Path,
    shapes: Sequence[tuple[str, Polygon]],
    meanings: Mapping[str, str],
    rename_in: str,
) -> Annotations:
    """Shapes as (group, polygon), sorted by what their groups mean.

    Shapes of fewer than three points have no area and are dropped. Raises AnnotationError on groups
    without a meaning; `rename_in`: the program in which they can be renamed.
    """
    unnamed = sorted(group for group, meaning in meanings.items() if not meaning)
    if unnamed:
        quoted = ", ".join(repr(group[:MAX_QUOTED]) for group in unnamed[:5])
        if len(unnamed) > 5:
            quoted += " …"
        raise AnnotationError(
            f"{path}: unknown annotation group {quoted}; name it by --tumour_groups or "
            f"--hole_groups, or rename it in {rename_in} to one of {', '.join(GROUPS)}"
        )

    tumour: list[Polygon] = []
    holes: list[Polygon] = []
    ungrouped: list[Polygon] = []
    n_dropped = 0
    for group, polygon in shapes:
        if len(polygon) < 3:
            n_dropped += 1
            continue
        (tumour if meanings[group] == TUMOUR else holes).append(polygon)
        if group == NO_GROUP:
            ungrouped.append(polygon)
    return Annotations(tumour, holes, n_dropped, ungrouped)


def has_area(polygon: Polygon) -> bool:
    """Whether the corners of a polygon do not all lie on one line."""
    offsets = polygon - polygon[0]
    farthest = offsets[np.argmax((offsets**2).sum(axis=1))]
    return bool((offsets[:, 0] * farthest[1] != offsets[:, 1] * farthest[0]).any())
