import base64
import json
import re

import cv2
import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.view import export
from epsam.view.catalogue import read_catalogue
from epsam.view.export import export_page
from epsam.view.export_gallery import export_gallery
from epsam.view.image_site import ImageSite
from epsam.view.run_patches import TrainingRun
from epsam.view.run_site import RunSite
from support.viewed_results import probability_pixels, write_results
from support.viewed_run import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("viewed"))


@pytest.fixture
def site(folder):
    return ImageSite(read_catalogue(folder))


def read_calls(path):
    """What the script of an image calls the page with: exported content, and description."""
    lines = path.read_text().splitlines()
    exported = json.loads(lines[0].removeprefix("epsam.setExported(").removesuffix(");"))
    described = json.loads(re.fullmatch(r"epsam\.setImage\(\d+, (.*)\);", lines[1])[1])
    return exported, described


def test_the_page_holds_all_levels_of_all_layers(site, tmp_path):
    export_page(site, tmp_path / "page", 30)
    page = (tmp_path / "page" / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert name == "data:," or (tmp_path / "page" / name).is_file()

    tiles = sorted((tmp_path / "page" / "tiles" / "1" / "image").rglob("*.jpg"))
    # 1, 2 and 6 tiles.
    assert len(tiles) == 9
    exported, described = read_calls(tmp_path / "page" / "images" / "0.js")
    assert len(exported["tiles"]) == 3 * 9
    content = base64.b64decode(exported["tiles"]["probability/10/1_0"])
    tile = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(tile, probability_pixels()[:256, 256:512])
    outlines = base64.b64decode(exported["outlines"]["tumour"])
    assert np.frombuffer(outlines[:8], "<i4").tolist() == [1, 5]
    assert described["layers"]["image"]["finest"] == 10
    assert "null" not in (tmp_path / "page" / "uncertainty.js").read_text()


def test_a_large_slide_lacks_its_finest_levels_and_says_so(site, tmp_path, caplog):
    caplog.set_level("INFO")
    export_page(site, tmp_path / "page", 0.06)
    _, described = read_calls(tmp_path / "page" / "images" / "0.js")
    image = described["layers"]["image"]
    # Of 700 px, some halvings; the layer still spans as many pixels of level 0.
    dropped = 10 - image["finest"]
    assert dropped > 0
    assert image["width"] == -(-700 // 2**dropped)
    assert image["span"] == image["width"] * 2**dropped
    levels = [path.name for path in (tmp_path / "page" / "tiles" / "0" / "image").iterdir()]
    assert sorted(map(int, levels)) == list(range(image["coarsest"], image["finest"] + 1))
    size = sum(path.stat().st_size for path in (tmp_path / "page" / "tiles" / "0").rglob("*.jpg"))
    assert size < 60_000
    assert f"a: {0.5**dropped:g} of its resolution" in caplog.text


def test_many_points_are_exported_coarser(site, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_POINTS", 3)
    export_page(site, tmp_path / "page", 30)
    exported, _ = read_calls(tmp_path / "page" / "images" / "0.js")
    count, length = np.frombuffer(base64.b64decode(exported["outlines"]["tumour"])[:8], "<i4")
    assert count == 1
    assert length <= 3


def test_a_page_can_be_written_again_but_not_over_other_files(site, folder, tmp_path):
    export_page(site, tmp_path / "page", 30)
    export_page(site, tmp_path / "page", 30)
    for target in (folder, folder / "page", folder.parent / "slides"):
        with pytest.raises(DatasetError, match="--export"):
            export_page(site, target, 30)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not results of view"):
        export_page(site, tmp_path / "other", 30)


def read_patches(page):
    text = (page / "patches.js").read_text()
    return json.loads(text.removeprefix("epsam.setPatches(").removesuffix(");\n"))["patches"]


def test_the_gallery_of_a_run_is_exported_with_all_pictures(tmp_path):
    site = RunSite(TrainingRun(write_run(tmp_path)))
    export_gallery(site, tmp_path / "page", 30)
    page = (tmp_path / "page" / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert name == "data:," or (tmp_path / "page" / name).is_file()
    rows = read_patches(tmp_path / "page")
    assert len(rows) == 9
    for index, row in enumerate(rows):
        for picture in row["pictures"]:
            path = tmp_path / "page" / "pictures" / str(index) / picture["file"]
            assert not picture["file"] or path.is_file()
    with pytest.raises(DatasetError, match="--export"):
        export_gallery(site, tmp_path / "runs" / "mine" / "page", 30)


def test_of_too_many_patches_evenly_spaced_ones_are_exported(tmp_path, caplog):
    caplog.set_level("INFO")
    export_gallery(RunSite(TrainingRun(write_run(tmp_path))), tmp_path / "all", 30)
    files = list((tmp_path / "all" / "pictures").rglob("*.jpg"))
    third = sum(path.stat().st_size for path in files) / 3e6
    # Room for three of nine patches: the first, the middle and the last one.
    export_gallery(RunSite(TrainingRun(tmp_path / "runs" / "mine")), tmp_path / "few", third * 1.01)
    rows = read_patches(tmp_path / "few")
    assert [(row["split"], row["name"]) for row in rows] == [
        ("train", "a_1"),
        ("val", "b_1"),
        ("test", "c_0"),
    ]
    assert "3 of 9 patches" in caplog.text
    folders = sorted(path.name for path in (tmp_path / "few" / "pictures").iterdir())
    assert folders == ["0", "1", "2"]
