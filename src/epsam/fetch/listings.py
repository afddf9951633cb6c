"""What two kinds of homes list: an item of figshare, and a public S3 bucket."""

import json
import urllib.parse
from collections.abc import Iterator
from xml.etree import ElementTree

from epsam.core.errors import DatasetError
from epsam.fetch.transfer import RemoteFile, read_remote

CHECKSUMS = "checksums.md5"


def list_figshare_item(address: str) -> list[RemoteFile]:
    """The files of an item, read from its page of figshare's API (`…/v2/articles/<number>`).

    Raises DatasetError if the address cannot be read or does not answer with an item.
    """
    try:
        files = json.loads(read_remote(address))["files"]
        return [
            RemoteFile(
                path=file["name"],
                url=file["download_url"],
                size=int(file["size"]),
                md5=file.get("computed_md5") or file.get("supplied_md5") or "",
            )
            for file in files
        ]
    except (ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{address}: answers without a list of files ({error!r})") from error


def list_bucket(address: str, prefix: str) -> list[RemoteFile]:
    """The objects of a public bucket below `prefix`, with sums where the bucket has checksums.md5.

    Paths are relative to the prefix. Raises DatasetError if the address cannot be read or does not
    answer with a listing.
    """
    try:
        files = list(_list_objects(address, prefix))
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"{address}: answers without a bucket's listing ({error})") from error

    sums = _read_checksums(files)
    return [
        RemoteFile(file.path, file.url, file.size, sums.get(file.path, ""))
        for file in files
        if file.path != CHECKSUMS
    ]


def _list_objects(address: str, prefix: str) -> Iterator[RemoteFile]:
    """All objects; a bucket answers with 1,000 at a time and a token for the next page."""
    token = ""
    while True:
        query = {"list-type": "2", "prefix": prefix}
        if token:
            query["continuation-token"] = token
        page = ElementTree.fromstring(read_remote(f"{address}?{urllib.parse.urlencode(query)}"))

        for entry in page.iterfind("{*}Contents"):
            key = entry.findtext("{*}Key", "")
            # Folders are objects, too, whose names end in a slash.
            if key and not key.endswith("/"):
                url = f"{address}{urllib.parse.quote(key)}"
                size = int(entry.findtext("{*}Size", "0"))
                yield RemoteFile(key.removeprefix(prefix), url, size)

        token = page.findtext("{*}NextContinuationToken", "")
        if not token:
            return


def _read_checksums(files: list[RemoteFile]) -> dict[str, str]:
    """Path → MD5 out of the bucket's own table, whose lines are a sum and a path."""
    tables = [file for file in files if file.path == CHECKSUMS]
    if not tables:
        return {}
    sums = {}
    for line in read_remote(tables[0].url).decode("utf-8", errors="replace").splitlines():
        md5, _, path = line.partition(" ")
        sums[path.strip().lstrip("*").removeprefix("./")] = md5.strip().lower()
    return sums
