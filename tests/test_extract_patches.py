import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import rasterize_tumour
from epsam.core.errors import DatasetError
from epsam.data.images import read_mask, read_rgb
from extract_patches import main
from support.slide_dataset import (
    HEIGHT,
    TUMOUR,
    WIDTH,
    files,
    make_dataset,
    options_for,
    statuses,
    write_annotations,
    write_slide,
)
from support.tables import read_rows

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "bcss_slides"


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "mine")


def test_patches_hold_the_slides_pixels_and_masks_the_annotations(dataset):
    main(options_for(dataset))
    image = tifffile.imread(dataset / "images" / "a.tif")
    ground_truth = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ground_truth[64:176, 64:200] = True
    rows = read_rows(dataset / "patches.csv")
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in (row for row in rows if row["slide"] == "a"):
        x, y, label = int(row["x"]), int(row["y"]), row["label"]
        name = f"a_x{x}_y{y}_{label}.png"
        assert row["id"] == f"a_x{x}_y{y}"
        assert (row["split"], row["size"], row["mpp"]) == ("train", "64", "0.5000")
        assert np.array_equal(
            read_rgb(dataset / "train" / "image" / name), image[y : y + 64, x : x + 64]
        )
        mask = ground_truth[y : y + 64, x : x + 64]
        assert float(row["tumour"]) == pytest.approx(mask.mean(), abs=1e-4)
        assert (dataset / "train" / "mask" / name).exists() == (label == "1")
        if label == "1":
            assert 0.2 < mask.mean() < 0.9
            assert np.array_equal(read_mask(dataset / "train" / "mask" / name), mask)
        else:
            assert not mask.any()


def tile_corners():
    """All corners (x, y) of the grid that `options_for` sets."""
    return [(x, y) for y in range(0, HEIGHT - 63, 32) for x in range(0, WIDTH - 63, 32)]


def patch_corners(dataset, slide, label):
    rows = [row for row in read_rows(dataset / "patches.csv") if row["slide"] == slide]
    return {(int(row["x"]), int(row["y"])) for row in rows if row["label"] == label}


def test_every_tile_in_the_range_becomes_a_positive(dataset):
    main(options_for(dataset))
    ground_truth = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ground_truth[64:176, 64:200] = True
    positives = set()
    for x, y in tile_corners():
        if 0.2 < ground_truth[y : y + 64, x : x + 64].mean() < 0.9:
            positives.add((x, y))
    assert patch_corners(dataset, "b", "1") == positives


def test_negatives_hold_a_quarter_of_tissue_at_least(dataset):
    main(options_for(dataset))
    ground_truth = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ground_truth[64:176, 64:200] = True
    mostly_tissue = set()
    for x, y in tile_corners():
        if not ground_truth[y : y + 64, x : x + 64].any() and x + 32 < WIDTH - 96:
            mostly_tissue.add((x, y))
    # At one level the tissue mask has 16 px blocks: tiles that are half white or less are surely
    # tissue.
    negatives = patch_corners(dataset, "b", "0")
    assert mostly_tissue <= negatives
    assert all(x + 64 - (WIDTH - 96) <= 48 for x, _ in negatives)


def test_folders_hold_exactly_what_the_table_says(dataset):
    main(options_for(dataset))
    rows = read_rows(dataset / "patches.csv")
    for split in ("train", "val", "test"):
        names = sorted(f"{row['id']}_{row['label']}.png" for row in rows if row["split"] == split)
        assert sorted(path.name for path in (dataset / split / "image").iterdir()) == names
        masks = sorted(path.name for path in (dataset / split / "mask").iterdir())
        assert masks == [name for name in names if name.endswith("_1.png")]
    assert sorted(path.name for path in (dataset / "thumbnails").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
    ]
    assert not (dataset / ".patches.part").exists()


def test_the_record_tells_how_the_patches_were_made(dataset):
    main(options_for(dataset, seed=5))
    entry = json.loads((dataset / "record.json").read_text())["extract_patches"]
    assert (entry["options"]["seed"], entry["options"]["stride"]) == (5, 32)
    before = entry["inputs"]
    write_annotations(dataset / "annotations" / "a.xml", corners=TUMOUR[::-1])
    main(options_for(dataset, restart=True))
    after = json.loads((dataset / "record.json").read_text())["extract_patches"]["inputs"]
    assert (after["slides"] == before["slides"], after["outlines"] == before["outlines"]) == (
        True,
        False,
    )


def test_slides_and_annotations_stay_unchanged(dataset):
    before = files(dataset / "images") | files(dataset / "annotations")
    main(options_for(dataset))
    assert files(dataset / "images") | files(dataset / "annotations") == before


def test_the_result_does_not_depend_on_the_number_of_processes(dataset, tmp_path):
    limits = ["--max_per_bin", "3,2,0", "--max_positive", "0,0,5", "--max_negative", "4,4,4"]
    command = [
        sys.executable,
        str(ROOT / "src" / "extract_patches.py"),
        "--dataset_type",
        "mine",
        "--dataset_root",
        str(tmp_path),
        "--patch_size",
        "64",
        "--stride",
        "32",
        *limits,
    ]
    subprocess.run([*command, "--workers", "2"], check=True, capture_output=True)
    with_two_processes = files(dataset)
    main(
        options_for(
            dataset,
            max_per_bin=(3, 2, 0),
            max_positive=(0, 0, 5),
            max_negative=(4, 4, 4),
            restart=True,
        )
    )
    assert files(dataset) == with_two_processes
    rows = read_rows(dataset / "patches.csv")
    assert sum(row["split"] == "test" and row["label"] == "1" for row in rows) == 5
    assert sum(row["label"] == "0" for row in rows) == 12


def test_slides_of_odd_names_keep_their_names(dataset):
    names = {"a": "-rf *", "b": "ümläut 日本", "c": 'it\'s "c", 100 %s'}
    before = patches_by_slide(dataset)
    for old, new in names.items():
        (dataset / "images" / f"{old}.tif").rename(dataset / "images" / f"{new}.tif")
        (dataset / "annotations" / f"{old}.xml").rename(dataset / "annotations" / f"{new}.xml")
    with (dataset / "splits.csv").open("w", newline="", encoding="utf-8") as stream:
        splits = zip(names.values(), ("train", "val", "test"), strict=True)
        csv.writer(stream).writerows([("slide", "split"), *splits])
    assert patches_by_slide(dataset) == {names[slide]: patches for slide, patches in before.items()}
    assert statuses(dataset) == dict.fromkeys(names.values(), ("used", ""))


def patches_by_slide(dataset):
    """Extract the patches; returns slide → corners and labels of its patches, whose files exist."""
    main(options_for(dataset, restart=True))
    patches = {}
    for row in read_rows(dataset / "patches.csv"):
        corner_and_label = f"_x{row['x']}_y{row['y']}_{row['label']}.png"
        assert (dataset / row["split"] / "image" / (row["slide"] + corner_and_label)).is_file()
        patches.setdefault(row["slide"], set()).add(corner_and_label)
    return patches


def test_patches_at_a_resolution_need_that_of_the_slide(dataset):
    write_slide(dataset / "images" / "b.tif", mpp=0)
    with pytest.raises(DatasetError, match="val: no slide"):
        main(options_for(dataset, mpp=1.0, patch_size=32, stride=16))
    assert "pass --slide_mpp" in statuses(dataset)["b"][1]
    main(options_for(dataset, mpp=1.0, slide_mpp=0.5, patch_size=32, stride=16))
    rows = read_rows(dataset / "patches.csv")
    assert {(row["size"], row["mpp"]) for row in rows} == {("64", "1.0000")}
    row = next(row for row in rows if row["slide"] == "a" and row["label"] == "1")
    x, y = int(row["x"]), int(row["y"])
    name = f"{row['id']}_1.png"
    tile = tifffile.imread(dataset / "images" / "a.tif")[y : y + 64, x : x + 64]
    blocks = tile.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(read_rgb(dataset / "train" / "image" / name) - blocks).max() <= 0.5
    expected = rasterize_tumour(
        read_annotations(dataset / "annotations" / "a.xml"), x, y, 32, 32, 2.0
    )
    assert np.array_equal(read_mask(dataset / "train" / "mask" / name), expected)


def test_an_unknown_resolution_stays_empty_in_the_table(dataset):
    for name in "abc":
        write_slide(dataset / "images" / f"{name}.tif", mpp=0)
    main(options_for(dataset))
    assert {row["mpp"] for row in read_rows(dataset / "patches.csv")} == {""}


def test_an_empty_range_of_tumour_fractions_is_refused(dataset):
    with pytest.raises(DatasetError, match="--max_tumour 0.9: not above --min_tumour 0.9"):
        main(replace(options_for(dataset), min_tumour=0.9))


def test_bad_input_ends_the_command_with_one_line_and_1(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "src" / "extract_patches.py"),
            "--dataset_type",
            "none",
            "--dataset_root",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.skipif(
    not DATA.is_dir(), reason="../shared/data is absent: its slides are no part of the project"
)
def test_real_slides_give_these_numbers_of_positives(tmp_path):
    root = tmp_path / "bcss"
    root.mkdir()
    (root / "images").symlink_to(DATA / "images")
    (root / "annotations").symlink_to(DATA / "annotations")
    (root / "splits.csv").write_text(
        "slide,split\ntumor_001,train\ntumor_002,val\ntumor_003,test\n"
    )
    main(
        options_for(root, patch_size=512, stride=256, max_per_bin=(1, 1, 1), max_negative=(1, 1, 1))
    )
    rows = read_rows(root / "slides.csv")
    assert [(row["slide"], row["positives"], row["mpp"]) for row in rows] == [
        ("tumor_001", "126", "0.2500"),
        ("tumor_002", "86", "0.2500"),
        ("tumor_003", "100", "0.2500"),
    ]
