"""The patches of a dataset on disk: whether they are current, and how new ones replace them whole.

`patches.json` beside the patches holds their key; patches without it were brought by the user and
are never stale.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.config.keys import result_key
from epsam.config.patches import PatchOptions
from epsam.core.artifact import Artifact, Key, Record
from epsam.core.errors import DatasetError
from epsam.core.files import (
    digest_of,
    digest_of_files,
    digest_of_names_and_sizes,
    quick_hash,
    read_json,
    read_table,
    remove_leftovers,
    sha256_of,
    write_json,
)
from epsam.data.images import list_images, list_images_below
from epsam.extraction.dataset_slides import load_slides
from epsam.extraction.discovery import INCLUDED, SlideRecord, list_files
from epsam.extraction.splits import normalize_slide_name
from epsam.paths import DatasetPaths

log = logging.getLogger(__name__)

N_EXAMPLES = 5
_SLIDES = "slides, splits or annotations"
_LABELS = "labels of slides"
"""Names of the inputs of patches, as a log line says what has changed."""
_MOVING = "moving"
"""File in the staging folder from the moment on from which patches are being moved."""


def are_patches_current(paths: DatasetPaths, tables: Path, options: PatchOptions) -> bool:
    """Whether the stage has nothing to do; the train folder decides.

    It holds patches that the user brought, or that were extracted from today's slides, annotations
    and options. Raises DatasetError if patches would be replaced that this stage did not write,
    which takes --restart.
    """
    if options.restart:
        return False
    n_patches = {split: len(list_images_below(paths.split(split) / "image")) for split in SPLITS}
    if n_patches["train"]:
        return _are_train_patches_current(paths, tables, options, n_patches["train"])

    filled = [split for split in SPLITS if n_patches[split]]
    # A kill while patches were moved looks the same, but then they are this stage's.
    was_moving = (_staging_path(paths) / _MOVING).exists()
    if filled and not was_moving:
        raise DatasetError(
            f"{paths.split(filled[0]) / 'image'}: holds patches but "
            f"{paths.split('train') / 'image'} does not; add train patches, or pass --restart to "
            "make all splits from slides"
        )
    return False


def _are_train_patches_current(
    paths: DatasetPaths, tables: Path, options: PatchOptions, n_patches: int
) -> bool:
    folder = paths.split("train") / "image"
    removed = find_removed_slides(paths)
    # What is missing cannot be extracted again, so replacing the patches would lose some.
    if removed:
        log.warning(
            "%s holds %d patches: step skipped; %d of their slides are no longer there (%s%s), so "
            "whatever has changed, they stay",
            folder,
            n_patches,
            len(removed),
            ", ".join(removed[:N_EXAMPLES]),
            " …" if len(removed) > N_EXAMPLES else "",
        )
        return True
    changes = describe_changes(paths, tables, options)
    if changes:
        _refuse_foreign_files(paths)
        log.info("%s: its patches are extracted again, as this has changed: %s", folder, changes)
        return False
    # Patches that a user brought have no slides that others could be made from.
    hint = " (--restart makes them again)" if paths.patch_options.is_file() else ""
    log.info("%s holds %d patches: step skipped%s", folder, n_patches, hint)
    return True


def _refuse_foreign_files(paths: DatasetPaths) -> None:
    """Raise DatasetError if a file among the patches is not in patches.csv: it would be lost."""
    rows = read_table(paths.patch_table, ("id", "label"))
    written_stems = {f"{row['id']}_{row['label']}" for row in rows}
    for folder in _patch_folders(paths):
        for path in list_images(folder):
            if path.stem not in written_stems:
                raise DatasetError(
                    f"{path}: lies among patches that have to be extracted again, as slides, "
                    "annotations or options have changed, but was not written by this step; take "
                    "it out, or pass --restart to make all splits from slides without it"
                )


def patch_key(records: Sequence[SlideRecord], options: PatchOptions) -> Key:
    """What decides the patches: the options, and a digest of the slides.

    The digest covers each slide's split, status and quick hash, and its annotations by content.
    """
    lines = []
    for record in records:
        entry = (
            record.name,
            record.split,
            record.status,
            record.unannotated_is_normal,
            quick_hash(record.path) if record.path else None,
            sha256_of(record.annotations) if record.annotations else None,
        )
        lines.append(repr(entry))
    labels = [f"{record.name}: {record.label.label}" for record in records]
    key = result_key(options, {_SLIDES: digest_of(lines), _LABELS: digest_of(labels)})
    # Patches of version 0.1.0 do not say which labels they were extracted with.
    return replace(key, later_inputs=(_LABELS,))


def digest_inputs(records: Sequence[SlideRecord]) -> dict[str, str]:
    """Digests of the included slides and annotations, for the record of the stage.

    Slides count by name and size: reading all their bytes would take longer than the stage.
    """
    included = [record for record in records if record.status == INCLUDED]
    slides = [record.path for record in included if record.path]
    annotations = [record.annotations for record in included if record.annotations]
    return {
        "slides": digest_of_names_and_sizes(slides),
        "outlines": digest_of_files(annotations),
    }


def describe_changes(paths: DatasetPaths, tables: Path, options: PatchOptions) -> str:
    """What has changed since the present patches were extracted, in words.

    Empty if nothing has, and for patches that the user brought. Raises DatasetError as
    `load_slides` does.
    """
    # Without a readable provenance nobody can tell that patches are stale, so they stay.
    if not paths.patch_options.is_file():
        return ""
    try:
        provenance = read_provenance(paths.patch_options)
    except DatasetError:
        return ""
    key = patch_key(load_slides(paths, tables, options).records, options)
    return key.why_stale(provenance)


def find_removed_slides(paths: DatasetPaths) -> list[str]:
    """Slides of the present patches that are no longer on disk: many users remove them for room."""
    if not paths.patch_table.is_file():
        return []
    on_disk = {normalize_slide_name(path.stem) for path in list_files(paths.slides)}
    # A table of patches that the user brought has no column for slides, or leaves it empty.
    in_table = {row.get("slide", "") for row in read_table(paths.patch_table, ("id",))}
    return sorted(in_table - on_disk - {""})


def read_provenance(source: Path) -> Record:
    """The key that was stored with patches. Raises DatasetError if it is damaged."""
    stored = read_json(source)
    # Earlier versions have the digests beside the options.
    if "slides" in stored:
        stored["inputs"] = {_SLIDES: stored["slides"]}
        if "labels" in stored:
            stored["inputs"][_LABELS] = stored["labels"]
    if not isinstance(stored.get("options"), dict) or "inputs" not in stored:
        raise DatasetError(f"{source}: does not say how patches were extracted; remove it")
    return stored


@contextmanager
def staging_folder(paths: DatasetPaths, key: Key, restart: bool) -> Iterator[Path]:
    """A folder beside the patches to write new ones into, removed when the block ends.

    After an interruption, a kill or a full disk it stays, and the next block resumes with what it
    holds, if that has the same key and not `restart`. Raises DatasetError if a folder that will be
    replaced is a link: its target is not ours to remove.
    """
    staging = _staging_path(paths)
    for folder in _patch_folders(paths):
        if folder.is_symlink():
            raise DatasetError(
                f"{folder}: is a link, and patches would replace it; remove the link"
            )

    staged = _staged_patches(staging, key)
    # Once patches were being moved, part of them is no longer in the staging folder.
    if restart or not staged.is_current() or (staging / _MOVING).exists():
        _empty_staging(staging)
        staged.complete()
    else:
        log.info("resuming with what was written before the interruption")
        remove_leftovers(staging)

    try:
        yield staging
    except (KeyboardInterrupt, OSError):
        raise
    except BaseException:
        # Any other error would come back with the same content.
        shutil.rmtree(staging, ignore_errors=True)
        raise
    shutil.rmtree(staging, ignore_errors=True)


def is_extraction_begun(paths: DatasetPaths, key: Key) -> bool:
    """Whether an extraction with this key was interrupted, and would resume."""
    return _staged_patches(_staging_path(paths), key).is_current()


def _staged_patches(staging: Path, key: Key) -> Artifact:
    """What an extraction has written so far."""
    return Artifact(staging, key, record=staging / "made_for.txt", read=read_provenance)


def _empty_staging(staging: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    for split in SPLITS:
        (staging / split / "image").mkdir(parents=True)
        (staging / split / "mask").mkdir()
    (staging / "thumbnails").mkdir()


def publish_patches(staging: Path, paths: DatasetPaths, key: Key) -> None:
    """Move finished patches, their tables and thumbnails to where older ones were.

    The train images come last: they mark the stage as done, so after a power cut in between, the
    next run extracts everything again.
    """
    write_json(staging / paths.patch_options.name, key.record())
    (staging / _MOVING).touch()
    # The mark of the older patches goes first, so that no mixture counts as done.
    shutil.rmtree(paths.split("train") / "image", ignore_errors=True)
    for table in (paths.patch_options, paths.patch_table, paths.slide_table):
        _replace(staging / table.name, table)
    _replace(staging / "thumbnails", paths.root / "thumbnails")
    for split in reversed(SPLITS):
        for kind in ("mask", "image"):
            _replace(staging / split / kind, paths.split(split) / kind)


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def _patch_folders(paths: DatasetPaths) -> Iterator[Path]:
    for split in SPLITS:
        yield paths.split(split) / "image"
        yield paths.split(split) / "mask"


def _staging_path(paths: DatasetPaths) -> Path:
    return paths.root / ".patches.part"
