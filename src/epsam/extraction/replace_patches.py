"""Patches that were extracted here are replaced by others on request alone (see
`epsam.engine.replacement`).
"""

from pathlib import Path

from epsam.config.patches import PatchOptions
from epsam.core.durations import format_duration
from epsam.core.errors import FinishedWorkError
from epsam.core.files import write_json
from epsam.data.images import list_images_below
from epsam.engine.replacement import OUTDATED, read_seconds
from epsam.extraction.dataset_slides import load_slides
from epsam.extraction.patch_store import (
    describe_changes,
    find_removed_slides,
    is_extraction_begun,
    patch_key,
    read_provenance,
)
from epsam.paths import DatasetPaths

NAME = "extract_patches"


def describe_replacement(paths: DatasetPaths, tables: Path, options: PatchOptions) -> str:
    """Which finished patches would be replaced, and why; "" if none would, or if the user has
    agreed to that before.

    Raises DatasetError as `load_slides` does.
    """
    if not list_images_below(paths.split("train") / "image") or find_removed_slides(paths):
        return ""
    changes = describe_changes(paths, tables, options)
    if not changes or read_provenance(paths.patch_options).get(OUTDATED):
        return ""
    # An extraction that was interrupted has been agreed to when it began.
    records = load_slides(paths, tables, options).records
    if is_extraction_begun(paths, patch_key(records, options)):
        return ""
    seconds = read_seconds(paths.record, NAME)
    took = f"; took {format_duration(seconds)}" if seconds else ""
    return f"the patches of {paths.root} ({changes}{took})"


def require_replaceable_patches(paths: DatasetPaths, tables: Path, options: PatchOptions) -> None:
    """Raise FinishedWorkError if finished patches would be replaced, and neither --replace nor
    --restart says so.
    """
    if not options.replace and not options.restart:
        refuse_to_replace_patches(describe_replacement(paths, tables, options))


def refuse_to_replace_patches(work: str) -> None:
    """Raise FinishedWorkError for patches that would be replaced, if any."""
    if work:
        raise FinishedWorkError(
            f"this would replace {work}, which every run on them uses",
            "link the slides into a dataset of another name, or replace the patches by REPLACE=1 "
            "(--replace)",
        )


def mark_patches_outdated(paths: DatasetPaths) -> None:
    """Note that the user has agreed to lose the patches."""
    provenance = read_provenance(paths.patch_options)
    write_json(paths.patch_options, {**provenance, OUTDATED: "the user has agreed"})
