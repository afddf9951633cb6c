"""A dataset's patches appear whole: made in a folder beside, moved into place at the end."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from epsam.data.images import list_images
from epsam.errors import DatasetError
from epsam.files import read_json, remove_leftovers, write_json, write_text
from epsam.options import SPLITS, PatchOptions
from epsam.paths import DatasetPaths

log = logging.getLogger(__name__)

_MOVING = "moving"
OF_NO_EFFECT = {"restart", "debug", "workers", "strict", "shard", "merge", "dataset_root", "train_dataset_dir",
                "val_dataset_dir", "test_dataset_dir"}


def patches_are_there(paths: DatasetPaths, options: PatchOptions) -> bool:
    """Whether the stage has nothing to do: the train folder holds patches, made by it or brought by the user.

    Raises DatasetError if only another split holds patches, which this stage must not replace unasked.
    """
    if options.restart:
        return False
    held = {split: len(list_images(paths.split(split) / "image")) for split in SPLITS}
    if held["train"]:
        log.info("%s holds %d patches: step skipped (--restart makes them again)", paths.split("train") / "image",
                 held["train"])
        _tell_differences(paths.patch_options, options)
        return True
    others = [split for split in SPLITS if held[split]]
    if others and not (_staging(paths) / _MOVING).exists():
        raise DatasetError(f"{paths.split(others[0]) / 'image'}: holds patches but {paths.split('train') / 'image'} "
                           "does not; add train patches, or pass --restart to make all splits from slides")
    return False


@contextmanager
def staging_folder(paths: DatasetPaths, made_for: str, restart: bool) -> Iterator[Path]:
    """A folder beside the patches to make them in; gone afterwards, unless the block is interrupted or the disk fails.

    Then, and after a kill, the next block finds in it what was done, if `made_for` is the same and not to `restart`.
    Raises DatasetError if a folder that will be replaced is a link: what it leads to is not ours to remove.
    """
    folder = _staging(paths)
    links = [path for split in SPLITS for kind in ("image", "mask") if (path := paths.split(split) / kind).is_symlink()]
    if links:
        raise DatasetError(f"{links[0]}: is a link, and patches would replace it; remove the link")
    mark = folder / "made_for.txt"
    known = mark.is_file() and mark.read_text("utf-8") == made_for and not (folder / _MOVING).exists()
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


def hand_over(folder: Path, paths: DatasetPaths, options: PatchOptions) -> None:
    """Move finished patches, their table and thumbnails into place of older ones; the train images come last.

    They are what marks the stage as done: after a power cut in between, the next run makes everything again.
    """
    settings = {name: value for name, value in asdict(options).items() if name not in OF_NO_EFFECT}
    write_json(folder / paths.patch_options.name, settings)
    (folder / _MOVING).touch()
    shutil.rmtree(paths.split("train") / "image", ignore_errors=True)
    _replace(folder / paths.patch_options.name, paths.patch_options)
    _replace(folder / paths.patch_table.name, paths.patch_table)
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


def _tell_differences(record: Path, options: PatchOptions) -> None:
    if not record.is_file():
        return
    try:
        made = read_json(record)
    except DatasetError as error:
        log.info("note: how those patches were made is not known (%s)", error)
        return
    now = json.loads(json.dumps(asdict(options)))
    changed = [f"{name} {made[name]} → {now[name]}" for name in made if name in now and made[name] != now[name]]
    if changed:
        log.info("note: those patches were made with other settings (%s)", ", ".join(changed))
