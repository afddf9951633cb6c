"""What the homes of public data sets list: small answers in the form in which they give them."""

import json
import urllib.parse

import pytest

from epsam.core.errors import DatasetError
from epsam.fetch import listings
from epsam.fetch.transfer import RemoteFile

BUCKET = "https://bucket.example/"


@pytest.fixture
def answers(monkeypatch):
    """Address → answer; every other address is an error."""
    pages = {}

    def read(url):
        if url not in pages:
            raise DatasetError(f"{url}: cannot be read")
        return pages[url]

    monkeypatch.setattr(listings, "read_remote", read)
    return pages


def bucket_page(keys, token=""):
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>" for key, size in keys
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ListBucketResult xmlns="{space}">{entries}{more}</ListBucketResult>'.encode()


def bucket_url(**more):
    return f"{BUCKET}?{urllib.parse.urlencode({'list-type': '2', 'prefix': 'C16/', **more})}"


def test_an_item_lists_names_sizes_and_sums(answers):
    answers["https://api.example/1"] = json.dumps(
        {
            "files": [
                {"name": "a.zip", "download_url": "https://x/1", "size": 5, "computed_md5": "ab"},
                {"name": "b.txt", "download_url": "https://x/2", "size": 6},
            ]
        }
    ).encode()
    assert listings.list_figshare_item("https://api.example/1") == [
        RemoteFile("a.zip", "https://x/1", 5, "ab"),
        RemoteFile("b.txt", "https://x/2", 6, ""),
    ]


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"files": [{}]}'])
def test_an_answer_that_is_no_item_is_an_error(answers, answer):
    answers["https://api.example/1"] = answer
    with pytest.raises(DatasetError, match="without a list of files"):
        listings.list_figshare_item("https://api.example/1")


def test_a_bucket_is_listed_page_by_page_with_its_own_sums(answers):
    first = [("C16/images/", 0), ("C16/images/tumor 1.tif", 7), ("C16/checksums.md5", 3)]
    answers[bucket_url()] = bucket_page(first, "next")
    answers[bucket_url(**{"continuation-token": "next"})] = bucket_page([("C16/README.md", 9)])
    answers[f"{BUCKET}C16/checksums.md5"] = b"0AF1 *images/tumor 1.tif\n"
    assert listings.list_bucket(BUCKET, "C16/") == [
        RemoteFile("images/tumor 1.tif", f"{BUCKET}C16/images/tumor%201.tif", 7, "0af1"),
        RemoteFile("README.md", f"{BUCKET}C16/README.md", 9, ""),
    ]


def test_an_answer_that_is_no_listing_is_an_error(answers):
    answers[bucket_url()] = b"not XML"
    with pytest.raises(DatasetError, match="without a bucket's listing"):
        listings.list_bucket(BUCKET, "C16/")
