"""A dataset's patches appear whole: made in a folder beside, moved into place at the end."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from epsam.config.common import SPLITS
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_table, remove_leftovers, write_json, write_text
from epsam.data.images import list_images
from epsam.extraction.staleness import describe_changes, find_removed_slides
from epsam.paths import DatasetPaths

log = logging.getLogger(__name__)

_MOVING = "moving"


def are_patches_current(paths: DatasetPaths, tables: Path, options: PatchOptions) -> bool:
    """Whether the stage has nothing to do: the train folder holds patches, brought by the user or
    cut from the slides, outlines and options that there are now.

    Raises DatasetError if patches would have to be replaced that this stage has not made, which it
    must not unasked.
    """
    if options.restart:
        return False
    held = {split: len(list_images(paths.split(split) / "image")) for split in SPLITS}
    if held["train"]:
        return _are_up_to_date(paths, tables, options, held["train"])
    others = [split for split in SPLITS if held[split]]
    if others and not (_staging(paths) / _MOVING).exists():
        raise DatasetError(
            f"{paths.split(others[0]) / 'image'}: holds patches but {paths.split('train') / 'image'} "
            "does not; add train patches, or pass --restart to make all splits from slides"
        )
    return False


def _are_up_to_date(paths: DatasetPaths, tables: Path, options: PatchOptions, held: int) -> bool:
    folder = paths.split("train") / "image"
    if gone := find_removed_slides(paths):
        log.warning(
            "%s holds %d patches: step skipped; %d of their slides are no longer there (%s%s), so whatever has "
            "changed, they stay",
            folder,
            held,
            len(gone),
            ", ".join(gone[:5]),
            " …" if len(gone) > 5 else "",
        )
        return True
    if changed := describe_changes(paths, tables, options):
        _require_own(paths)
        log.info("%s: its patches are cut again, as this has changed: %s", folder, changed)
        return False
    log.info("%s holds %d patches: step skipped (--restart makes them again)", folder, held)
    return True


def _require_own(paths: DatasetPaths) -> None:
    """Raise DatasetError if a file among the patches is none of this stage's."""
    made = {f"{row['id']}_{row['label']}" for row in read_table(paths.patch_table, ("id", "label"))}
    for split in SPLITS:
        for kind in ("image", "mask"):
            for path in list_images(paths.split(split) / kind):
                if path.stem not in made:
                    raise DatasetError(
                        f"{path}: lies among patches that have to be cut again, as slides, outlines or "
                        "options have changed, but was not cut by this step; take it out, or pass "
                        "--restart to make all splits from slides without it"
                    )


@contextmanager
def staging_folder(paths: DatasetPaths, made: Mapping[str, Any], restart: bool) -> Iterator[Path]:
    """A folder beside the patches to make them in; gone afterwards, unless the block is interrupted
    or the disk fails.

    Then, and after a kill, the next block finds in it what was done, if `made`
    (`changes.made_from`) is the same and not to `restart`. Raises DatasetError if a folder that
    will be replaced is a link: what it leads to is not ours to remove.
    """
    folder = _staging(paths)
    links = [
        path
        for split in SPLITS
        for kind in ("image", "mask")
        if (path := paths.split(split) / kind).is_symlink()
    ]
    if links:
        raise DatasetError(f"{links[0]}: is a link, and patches would replace it; remove the link")
    mark, made_for = folder / "made_for.txt", json.dumps(made, sort_keys=True)
    known = (
        mark.is_file() and mark.read_text("utf-8") == made_for and not (folder / _MOVING).exists()
    )
    if restart or not known:
        _begin(folder)
        write_text(mark, made_for)
    else:
        log.info("going on with what was cut before the interruption")
        remove_leftovers(folder)
    try:
        yield folder
    except (KeyboardInterrupt, OSError):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _begin(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for split in SPLITS:
        (folder / split / "image").mkdir(parents=True)
        (folder / split / "mask").mkdir()
    (folder / "thumbnails").mkdir()


def publish_patches(folder: Path, paths: DatasetPaths, made: Mapping[str, Any]) -> None:
    """Move finished patches, their tables and thumbnails into place of older ones; the train images
    come last.

    They are what marks the stage as done: after a power cut in between, the next run makes
    everything again.
    """
    write_json(folder / paths.patch_options.name, made)
    (folder / _MOVING).touch()
    shutil.rmtree(paths.split("train") / "image", ignore_errors=True)
    for table in (paths.patch_options, paths.patch_table, paths.slide_table):
        _replace(folder / table.name, table)
    _replace(folder / "thumbnails", paths.root / "thumbnails")
    for split in reversed(SPLITS):
        for kind in ("mask", "image"):
            _replace(folder / split / kind, paths.split(split) / kind)


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def _staging(paths: DatasetPaths) -> Path:
    return paths.root / ".patches.part"
