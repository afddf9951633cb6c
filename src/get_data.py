"""A public data set, from its home into dataset/: `python src/get_data.py ebhi`.

Runs again where it was broken off. For a handful of CAMELYON's slides:
`python src/get_data.py camelyon16 --only tumor_001,normal_001`.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.fetch import GetDataOptions
from epsam.core.errors import DatasetError, EpsamError
from epsam.core.output_folders import check_output_folder, mark_output_folder
from epsam.fetch import ebhi
from epsam.fetch.listings import list_bucket, list_figshare_item
from epsam.fetch.transfer import RemoteFile, check_md5, fetch_files, format_size, is_complete

log = logging.getLogger(__name__)

TABLES = Path(__file__).resolve().parents[1] / "dataset"
BUCKET = "https://camelyon-dataset.s3.us-west-2.amazonaws.com/"


@dataclass(frozen=True)
class Home:
    """Where a data set is listed: its address, the listing's reader, what of it is wanted."""

    address: str
    list_files: Callable[[str], list[RemoteFile]]
    page: str
    folders: tuple[str, ...] = ()
    """Folders of the listing that are fetched; empty: everything."""


HOMES = {
    "ebhi": Home(
        "https://api.figshare.com/v2/articles/21540159",
        list_figshare_item,
        "https://figshare.com/articles/dataset/EBHI-SEG/21540159",
    ),
    "camelyon16": Home(
        BUCKET,
        lambda address: list_bucket(address, "CAMELYON16/"),
        "https://registry.opendata.aws/camelyon/",
        ("images/", "annotations/"),
    ),
    "camelyon17": Home(
        BUCKET,
        lambda address: list_bucket(address, "CAMELYON17/"),
        "https://registry.opendata.aws/camelyon/",
        ("images/", "annotations/"),
    ),
}


def main(options: GetDataOptions) -> None:
    """List, fetch, check, and for EBHI convert."""
    if not options.dataset_type:
        raise EpsamError(f"get_data: name a data set: {', '.join(HOMES)}")
    folder = Path(options.dataset_root) / options.dataset_type
    check_output_folder(folder, "get_data", flag="--dataset_root")
    # EBHI's own folders lie apart from ours; CAMELYON's are the layout of a data set.
    downloads = folder / "source" if options.dataset_type == "ebhi" else folder

    files = list_remote_files(options, downloads)
    if options.list:
        print_listing(files, downloads)
        return
    mark_output_folder(folder, "get_data")
    if files:
        fetch_files(files, downloads)
        verify_files(files, downloads, options)
    if options.dataset_type == "ebhi":
        convert_downloads(files, downloads, folder)


def list_remote_files(options: GetDataOptions, downloads: Path) -> list[RemoteFile]:
    """What the home lists of what is wanted; nothing where it cannot be read but files lie there.

    Raises DatasetError where it cannot be read and nothing lies there, with what to do by hand.
    """
    home = HOMES[options.dataset_type]
    try:
        files = home.list_files(options.address or home.address)
    except DatasetError as error:
        if options.dataset_type == "ebhi" and downloads.is_dir() and any(downloads.iterdir()):
            log.warning("%s; converting what lies in %s", error, downloads)
            return []
        raise DatasetError(
            f"{error}; fetch it by hand from {home.page} into {downloads}, then run this again"
        ) from error
    return select_files(files, home.folders, options.only)


def select_files(
    files: Sequence[RemoteFile], folders: tuple[str, ...], only: Sequence[str]
) -> list[RemoteFile]:
    """The files of these folders and names (without suffix); empty: all.

    Raises DatasetError if a name is not listed.
    """
    selected = [file for file in files if not folders or file.path.startswith(folders)]
    if not only:
        return selected
    names = {Path(file.path).stem for file in selected}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise DatasetError(f"--only {unknown[0]}: not listed; names are like {min(names)}")
    return [file for file in selected if Path(file.path).stem in only]


def print_listing(files: Sequence[RemoteFile], folder: Path) -> None:
    for file in files:
        state = "there" if is_complete(file, folder) else "missing"
        log.info("%-8s %10s  %s", state, format_size(file.size), file.path)
    total = sum(file.size for file in files)
    log.info("%d files, %s", len(files), format_size(total))


def verify_files(files: Sequence[RemoteFile], folder: Path, options: GetDataOptions) -> None:
    """With --verify, check the sums of everything. Raises DatasetError if one is wrong."""
    if not options.verify:
        return
    damaged = check_md5(files, folder)
    if damaged:
        raise DatasetError(
            f"{folder}: {len(damaged)} of {len(files)} files are not what their home lists, such "
            f"as {damaged[0]}; remove them and run this again"
        )
    log.info("%d files are what their home lists", len(files))


def convert_downloads(files: Sequence[RemoteFile], downloads: Path, folder: Path) -> None:
    """Unpack what was fetched, then turn the set's folders into those of a data set."""
    unpacked = downloads / "unpacked"
    archives = [downloads / file.path for file in files if file.path.lower().endswith(".zip")]
    archives += [path for path in downloads.glob("*.zip") if path not in archives]
    if archives and not unpacked.is_dir():
        ebhi.unpack(archives[0], unpacked)

    counts = ebhi.convert_ebhi(downloads, folder, TABLES / ebhi.SPLIT_TABLE)
    ebhi.write_patch_table(folder)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    log.info("%s: %s", folder, listed)


def with_name_as_flag(arguments: list[str]) -> list[str]:
    """A data set's name before the first flag as the value of --dataset_type."""
    if arguments and not arguments[0].startswith("-"):
        return [f"--dataset_type={arguments[0]}", *arguments[1:]]
    return arguments


if __name__ == "__main__":
    sys.argv[1:] = with_name_as_flag(sys.argv[1:])
    run_stage("get_data", GetDataOptions, main)
