"""Flags of get_data.py: which public data set, and what of it."""

from dataclasses import dataclass

from epsam.config.flags import flag

PUBLIC_DATASETS = ("ebhi", "camelyon16", "camelyon17")
"""The data sets that get_data.py fetches."""


@dataclass(frozen=True)
class GetDataOptions:
    """A public data set, fetched from its home into dataset/<name>/."""

    dataset_type: str = flag("", "data set to fetch", choices=PUBLIC_DATASETS, affects_result=True)
    dataset_root: str = flag("dataset", "folder that holds the datasets", affects_result=False)
    only: tuple[str, ...] = flag(
        (),
        "names of the slides to fetch, such as tumor_001,normal_001; empty: all",
        affects_result=True,
    )
    list: bool = flag(
        False, "list what would be fetched, with sizes, and fetch nothing", affects_result=False
    )
    verify: bool = flag(
        False,
        "check the sums of all files that are there, too: minutes a slide",
        affects_result=False,
    )
    address: str = flag(
        "", "where the listing is read, for a mirror; empty: the public home", affects_result=False
    )
    debug: bool = flag(False, "on an error, print the traceback too", affects_result=False)
