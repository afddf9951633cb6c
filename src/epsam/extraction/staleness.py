"""Are a dataset's patches still what its slides, outlines, splits and the options give?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epsam.config.flags import result_options
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.core.files import digest_of, quick_hash, read_json, read_table, sha256_of
from epsam.extraction.assign_splits import load_slides
from epsam.extraction.discovery import SlideRecord, list_files
from epsam.extraction.splits import normalize_slide_name
from epsam.paths import DatasetPaths


def provenance(records: Sequence[SlideRecord], options: PatchOptions) -> dict[str, Any]:
    """What decides the patches: the options, and a digest of the slides (by `files.sketch_of`),
    their splits and their outlines (by content).
    """
    lines = [
        repr(
            (
                record.name,
                record.split,
                record.status,
                record.unannotated_is_normal,
                record.path and quick_hash(record.path),
                record.annotations and sha256_of(record.annotations),
            )
        )
        for record in records
    ]
    return {"options": json.loads(json.dumps(result_options(options))), "slides": digest_of(lines)}


def describe_changes(paths: DatasetPaths, tables: Path, options: PatchOptions) -> str:
    """What is not as it was when the patches that are there were cut, in words.

    Empty if nothing is, and if patches were brought. Raises DatasetError as `place_slides` does.
    """
    made = _read_made(paths.patch_options)
    if not made:
        return ""
    now = provenance(load_slides(paths, tables, options).records, options)
    before, after = made["options"], now["options"]
    different = [
        f"{name} {before[name]} → {after[name]}"
        for name in before
        if name in after and before[name] != after[name]
    ]
    if made["slides"] != now["slides"]:
        different.append("slides, splits or outlines")
    return ", ".join(different)


def find_removed_slides(paths: DatasetPaths) -> list[str]:
    """Slides that patches were cut from and that are no longer there: many remove them to have
    room.
    """
    if not paths.patch_table.is_file():
        return []
    there = {normalize_slide_name(path.stem) for path in list_files(paths.slides)}
    return sorted({row["slide"] for row in read_table(paths.patch_table, ("slide",))} - there)


def _read_made(record: Path) -> dict[str, Any]:
    """What `made_from` told when the patches were cut; empty if nobody knows, as with patches that
    were brought.
    """
    try:
        made = read_json(record) if record.is_file() else {}
    except DatasetError:
        return {}
    return made if isinstance(made.get("options"), dict) and "slides" in made else {}
