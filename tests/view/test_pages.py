import hashlib

from epsam.view.pages import ROOM, STATIC_FILES, VENDORED, VENDORED_SHA256, palettes, static_file


def test_openseadragon_is_that_of_its_package_with_its_licence():
    content = (ROOM / "static" / VENDORED).read_bytes()
    assert hashlib.sha256(content).hexdigest() == VENDORED_SHA256
    assert b"openseadragon 6.1.1" in content[:200]
    assert b"Redistribution and use" in static_file("vendor/openseadragon/LICENSE.txt").content


def test_every_static_file_is_listed_and_nothing_else_is_answered():
    files = [path for path in (ROOM / "static").rglob("*") if path.is_file()]
    assert {path.relative_to(ROOM / "static").as_posix() for path in files} == set(STATIC_FILES)
    assert static_file("../pages.py") is None


def test_palettes_have_a_colour_for_each_grey_value():
    for colours in palettes().values():
        assert len(colours) == 256
        assert all(len(colour) == 3 for colour in colours)
    # Viridis begins dark violet and ends yellow.
    assert palettes()["probability"][0] == [68, 1, 84]
    assert palettes()["probability"][255] == [253, 231, 37]
