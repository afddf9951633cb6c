"""The demo's slides, drawn small."""

import csv
from dataclasses import replace

import pytest
import tifffile

import make_demo_slides
from demo.options import DemoOptions
from epsam.core.errors import DatasetError


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(make_demo_slides, "SHAPE", (384, 512))
    monkeypatch.setattr(
        make_demo_slides, "SPLITS", {"train": ("tumor_001",), "test": ("normal_001",)}
    )
    return DemoOptions(seed=5, output_dir=str(tmp_path / "demo"), workers=1)


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_split_has_a_slide_with_a_large_tumour():
    for names in make_demo_slides.SPLITS.values():
        assert len(set(names) & set(make_demo_slides.LARGE_TUMOURS)) == 1


def test_slides_annotations_and_split_lie_where_the_pipeline_looks(options, tmp_path):
    make_demo_slides.main(options)
    files = content(tmp_path / "demo")
    assert set(files) == {
        "images/tumor_001.tif",
        "images/normal_001.tif",
        "annotations/tumor_001.xml",
        "annotations/normal_001.xml",
        "splits.csv",
        "seed.txt",
        ".results.json",
    }
    assert list(csv.reader(files["splits.csv"].decode().splitlines())) == [
        ["slide", "split"],
        ["tumor_001", "train"],
        ["normal_001", "test"],
    ]
    with tifffile.TiffFile(tmp_path / "demo/images/tumor_001.tif") as tif:
        assert [level.shape[:2] for level in tif.series[0].levels] == [
            (384, 512),
            (192, 256),
            (96, 128),
            (48, 64),
        ]


def test_made_slides_are_left_alone_and_a_missing_one_is_made_again_the_same(options, tmp_path):
    make_demo_slides.main(replace(options, workers=2))
    first = content(tmp_path / "demo")
    untouched = tmp_path / "demo/images/normal_001.tif"
    before = untouched.stat().st_mtime_ns
    (tmp_path / "demo/images/tumor_001.tif").unlink()
    make_demo_slides.main(options)
    assert untouched.stat().st_mtime_ns == before
    again = content(tmp_path / "demo")
    assert again["images/tumor_001.tif"] == first["images/tumor_001.tif"]
    assert again["annotations/tumor_001.xml"] == first["annotations/tumor_001.xml"]


def test_another_seed_does_not_mix_with_the_slides_that_are_there(options, tmp_path):
    make_demo_slides.main(options)
    first = content(tmp_path / "demo")
    with pytest.raises(DatasetError, match=r"seed 5, seed 6 was asked for; .*--restart"):
        make_demo_slides.main(replace(options, seed=6))
    make_demo_slides.main(replace(options, seed=6, restart=True))
    assert content(tmp_path / "demo")["images/normal_001.tif"] != first["images/normal_001.tif"]


def test_no_slide_has_two_splits_and_every_split_has_tumour_and_normal():
    names = [name for group in make_demo_slides.SPLITS.values() for name in group]
    assert len(names) == len(set(names))
    for group in make_demo_slides.SPLITS.values():
        assert {name.split("_")[0] for name in group} == {"tumor", "normal"}
