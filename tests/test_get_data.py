"""get_data.py: what it selects, what it says offline, and EBHI from a local home to patches."""

import hashlib
import json
import zipfile

import numpy as np
import pytest

import get_data
from epsam.config.fetch import GetDataOptions
from epsam.core.errors import DatasetError
from epsam.data.images import write_rgb
from epsam.fetch import listings
from epsam.fetch.transfer import RemoteFile

LISTED = [
    RemoteFile("images/tumor_001.tif", "u", 1),
    RemoteFile("images/normal_001.tif", "u", 1),
    RemoteFile("annotations/tumor_001.xml", "u", 1),
    RemoteFile("masks/tumor_001.tif", "u", 1),
]


def names(files):
    return [file.path for file in files]


def test_slides_and_annotations_are_fetched_and_nothing_else():
    folders = ("images/", "annotations/")
    assert names(get_data.select_files(LISTED, folders, ())) == names(LISTED[:3])
    selected = get_data.select_files(LISTED, folders, ("tumor_001",))
    assert names(selected) == ["images/tumor_001.tif", "annotations/tumor_001.xml"]


def test_a_name_that_is_not_listed_is_an_error():
    with pytest.raises(DatasetError, match="--only tumor_999: not listed; names are like normal"):
        get_data.select_files(LISTED, ("images/",), ("tumor_999",))


def test_a_name_comes_before_the_flags():
    assert get_data.with_name_as_flag(["ebhi", "--list"]) == ["--dataset_type=ebhi", "--list"]
    assert get_data.with_name_as_flag(["--list"]) == ["--list"]


@pytest.fixture
def home(tmp_path):
    """A home of EBHI on this disk: a listing and one archive, read through file:// addresses."""
    image = tmp_path / "GT2001837-1-400-001.png"
    write_rgb(image, np.full((8, 8, 3), 200, np.uint8))
    archive = tmp_path / "home" / "EBHI-SEG.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as content:
        for name in ("Adenocarcinoma/image", "Adenocarcinoma/label", "Normal/image", "Polyp/image"):
            content.write(image, f"EBHI-SEG/{name}/{image.name}")
    entry = {
        "name": archive.name,
        "download_url": archive.as_uri(),
        "size": archive.stat().st_size,
        "computed_md5": hashlib.md5(archive.read_bytes()).hexdigest(),
    }
    listing = tmp_path / "home" / "item.json"
    listing.write_text(json.dumps({"files": [entry]}))
    return listing.as_uri()


def test_ebhi_goes_from_its_home_to_patches(home, tmp_path, caplog):
    caplog.set_level("INFO")
    options = GetDataOptions("ebhi", str(tmp_path / "dataset"), address=home)
    get_data.main(options)
    patches = sorted(path.name for path in (tmp_path / "dataset/ebhi/train/image").iterdir())
    assert patches == [
        f"{name}-GT2001837-1-400-001_{label}.png"
        for name, label in (("adeno", 1), ("normal", 0), ("polyp", 0))
    ]
    assert "3 train" in caplog.text


def test_offline_it_says_what_to_fetch_and_where_it_goes(tmp_path):
    options = GetDataOptions("ebhi", str(tmp_path), address=(tmp_path / "nothing").as_uri())
    with pytest.raises(
        DatasetError, match=r"by hand from https://figshare.*21540159 into .*source"
    ):
        get_data.main(options)


def test_offline_it_converts_what_lies_there(home, tmp_path, caplog):
    get_data.main(GetDataOptions("ebhi", str(tmp_path / "dataset"), address=home))
    nowhere = (tmp_path / "nothing").as_uri()
    get_data.main(GetDataOptions("ebhi", str(tmp_path / "dataset"), address=nowhere))
    assert "converting what lies in" in caplog.text


def test_a_listing_tells_what_is_there(home, tmp_path, caplog):
    caplog.set_level("INFO")
    options = GetDataOptions("ebhi", str(tmp_path / "dataset"), address=home, list=True)
    get_data.main(options)
    assert "missing" in caplog.text
    assert not (tmp_path / "dataset").exists()
    assert listings.list_figshare_item(home)[0].path == "EBHI-SEG.zip"
