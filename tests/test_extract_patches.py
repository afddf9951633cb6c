import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import rasterize_tumour
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError, SlideError
from epsam.data.images import read_mask, read_rgb
from epsam.extraction import candidate_cache, write_patches
from epsam.extraction.splits import read_splits
from extract_patches import main

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "bcss_slides"
WIDTH, HEIGHT = 384, 320
TUMOUR = [(64, 64), (200, 64), (200, 176), (64, 176)]


def write_slide(path, mpp=0.5, size=(HEIGHT, WIDTH)):
    """Textured tissue in all but the rightmost 96 columns, which are white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(path.stem.encode())).integers(-30, 30, (*size, 3))
    image = (np.array([200, 110, 170]) + noise).astype(np.uint8)
    image[:, WIDTH - 96 :] = 250
    resolution = (
        {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": "CENTIMETER"} if mpp else {}
    )
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", metadata=None, **resolution)
    return image


def write_annotations(path, group="Tumor", corners=TUMOUR):
    path.parent.mkdir(parents=True, exist_ok=True)
    points = "".join(
        f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(corners)
    )
    path.write_text(
        f'<ASAP_Annotations><Annotations><Annotation PartOfGroup="{group}"><Coordinates>{points}'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


@pytest.fixture
def dataset(tmp_path):
    """Three annotated slides a, b, c, each in a split of its own."""
    root = tmp_path / "mine"
    for name in "abc":
        write_slide(root / "images" / f"{name}.tif")
        write_annotations(root / "annotations" / f"{name}.xml")
    (root / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\n")
    return root


def options_for(root, **changes):
    return PatchOptions(
        dataset_type=root.name,
        dataset_root=str(root.parent),
        **{"patch_size": 64, "stride": 32, "workers": 1, **changes},
    )


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def statuses(root):
    return {row["slide"]: (row["status"], row["reason"]) for row in table(root / "slides.csv")}


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "record.json")
    }


def test_patches_hold_the_slides_pixels_and_masks_the_annotations(dataset):
    main(options_for(dataset))
    image = tifffile.imread(dataset / "images" / "a.tif")
    ground_truth = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ground_truth[64:176, 64:200] = True
    rows = table(dataset / "patches.csv")
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
    rows = [row for row in table(dataset / "patches.csv") if row["slide"] == slide]
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
    rows = table(dataset / "patches.csv")
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
    rows = table(dataset / "patches.csv")
    assert sum(row["split"] == "test" and row["label"] == "1" for row in rows) == 5
    assert sum(row["label"] == "0" for row in rows) == 12


def test_a_second_run_does_nothing_and_restart_makes_everything_again(dataset, caplog):
    main(options_for(dataset))
    before = files(dataset)
    (
        dataset
        / "train"
        / "image"
        / next(iter(sorted((dataset / "train" / "image").iterdir()))).name
    ).write_bytes(b"x")
    changed = files(dataset)
    with caplog.at_level("INFO"):
        main(options_for(dataset, workers=2, strict=True))
    assert "step skipped (--restart makes them again)" in caplog.text
    assert files(dataset) == changed != before
    main(options_for(dataset, restart=True))
    assert files(dataset) == before


def change(dataset, changed):
    """Change one input of the dataset; returns the options that go with it."""
    if changed == "annotations":
        write_annotations(dataset / "annotations" / "a.xml", corners=[(0, 0), (100, 0), (100, 100)])
    if changed == "slide":
        size = (dataset / "images" / "b.tif").stat().st_size
        image = write_slide(dataset / "images" / "b.tif")
        tifffile.imwrite(
            dataset / "images" / "b.tif",
            255 - image,
            tile=(64, 64),
            photometric="rgb",
            metadata=None,
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
        )
        assert (dataset / "images" / "b.tif").stat().st_size == size
    if changed == "new slide":
        write_slide(dataset / "images" / "d.tif")
        write_annotations(dataset / "annotations" / "d.xml")
    if changed in ("splits", "new slide"):
        (dataset / "splits.csv").write_text("slide,split\na,val\nb,train\nc,test\nd,train\n")
    return {"stride": 64} if changed == "options" else {}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("options", "stride 32 → 64"),
        ("annotations", "slides, splits or annotations"),
        ("slide", "slides, splits or annotations"),
        ("new slide", "slides, splits or annotations"),
        ("splits", "slides, splits or annotations"),
    ],
)
def test_a_change_of_inputs_replaces_all_patches_without_a_trace_of_the_old(
    dataset, caplog, changed, message
):
    main(options_for(dataset))
    before = files(dataset)
    options = change(dataset, changed)
    with caplog.at_level("INFO"):
        main(options_for(dataset, **options))
    assert f"extracted again, as this has changed: {message}" in caplog.text
    replaced = files(dataset)
    assert replaced != before
    for split in ("train", "val", "test"):
        shutil.rmtree(dataset / split)
    (dataset / "patches.json").unlink()
    main(options_for(dataset, **options))
    assert files(dataset) == replaced
    caplog.clear()
    with caplog.at_level("INFO"):
        main(options_for(dataset, **options))
    assert "step skipped" in caplog.text


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_users_file_among_the_patches_is_not_lost_to_a_change(dataset, kind):
    main(options_for(dataset))
    users_file = dataset / "val" / kind / "mine_1.png"
    users_file.write_bytes(b"mine")
    before = files(dataset)
    main(options_for(dataset))
    with pytest.raises(
        DatasetError, match=r"mine_1\.png: lies among patches .* take it out, or pass --restart"
    ):
        main(options_for(dataset, stride=64))
    assert files(dataset) == before


def test_patches_outlive_their_slides(dataset, caplog):
    main(options_for(dataset))
    (dataset / "images" / "a.tif").unlink()
    before = files(dataset)
    main(options_for(dataset, stride=64))
    assert "1 of their slides are no longer there (a)" in caplog.text
    shutil.rmtree(dataset / "images")
    main(options_for(dataset, stride=64))
    assert "3 of their slides are no longer there (a, b, c)" in caplog.text
    assert files(dataset) == {
        path: content for path, content in before.items() if path.parts[0] != "images"
    }


@pytest.mark.parametrize("record", [None, "", "[]", '{"stride": 16}'])
def test_patches_of_unknown_provenance_stay(dataset, record):
    main(options_for(dataset))
    (dataset / "patches.json").unlink()
    if record is not None:
        (dataset / "patches.json").write_text(record)
    before = files(dataset)
    main(options_for(dataset, stride=64))
    assert files(dataset) == before


def test_patches_of_the_user_need_no_slides(tmp_path):
    folder = tmp_path / "mine" / "train" / "image"
    folder.mkdir(parents=True)
    (folder / "a_1.jpg").write_bytes(b"x")
    main(options_for(tmp_path / "mine"))
    assert not (tmp_path / "mine" / "patches.csv").exists()


def test_test_patches_of_the_user_are_replaced_only_with_restart(dataset):
    (dataset / "test" / "image").mkdir(parents=True)
    (dataset / "test" / "image" / "a_1.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match="--restart"):
        main(options_for(dataset))
    assert (dataset / "test" / "image" / "a_1.png").read_bytes() == b"x"


def test_a_run_killed_while_moving_patches_is_repeated(dataset):
    main(options_for(dataset))
    complete = files(dataset)
    (dataset / ".patches.part").mkdir()
    (dataset / ".patches.part" / "moving").touch()
    for path in (dataset / "train" / "image").iterdir():
        path.unlink()
    main(options_for(dataset))
    assert files(dataset) == complete


STEPS = {"score_tiles": candidate_cache, "write_slide_patches": write_patches}


def interrupt_at(monkeypatch, step, slide):
    """Interrupt a step at one slide; returns the list of slides that it has done before."""
    work, done = getattr(STEPS[step], step), []

    def interrupted(task, *arguments):
        record = getattr(task, "record", task)
        if record.name == slide:
            raise KeyboardInterrupt
        done.append(record.name)
        return work(task, *arguments)

    monkeypatch.setattr(STEPS[step], step, interrupted)
    return done


@pytest.mark.parametrize(
    ("step", "slide", "remaining"),
    [("score_tiles", "b", ["b", "c"]), ("write_slide_patches", "c", ["c"])],
)
def test_an_interrupted_run_resumes_with_the_next_slide(
    dataset, monkeypatch, step, slide, remaining
):
    main(options_for(dataset))
    complete = files(dataset)
    for path in (dataset / "train", dataset / "val", dataset / "test"):
        shutil.rmtree(path)
    with monkeypatch.context() as patched:
        interrupt_at(patched, step, slide)
        with pytest.raises(KeyboardInterrupt):
            main(options_for(dataset))
    # What a kill leaves: half a file of a slide that is not done.
    (dataset / ".patches.part" / "train" / "image" / ".x.123.part.png").write_bytes(b"half")
    done = interrupt_at(monkeypatch, step, "nobody")
    main(options_for(dataset))
    assert done == remaining
    assert files(dataset) == complete


@pytest.mark.parametrize("change", ["options", "slide", "annotations", "restart"])
def test_an_interrupted_run_with_other_inputs_is_not_resumed(dataset, monkeypatch, change):
    with monkeypatch.context() as patched:
        interrupt_at(patched, "write_slide_patches", "c")
        with pytest.raises(KeyboardInterrupt):
            main(options_for(dataset))
    options = {"options": {"stride": 64}, "restart": {"restart": True}}.get(change, {})
    if change == "slide":
        write_slide(dataset / "images" / "a.tif", size=(HEIGHT, WIDTH + 64))
    if change == "annotations":
        write_annotations(dataset / "annotations" / "a.xml", corners=[(0, 0), (100, 0), (100, 100)])
    done = interrupt_at(monkeypatch, "write_slide_patches", "nobody")
    main(options_for(dataset, **options))
    assert done == ["a", "b", "c"]


def test_a_link_instead_of_a_patch_folder_is_not_emptied(dataset, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").write_text("mine")
    (dataset / "val").mkdir()
    (dataset / "val" / "mask").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="val/mask: is a link"):
        main(options_for(dataset))
    assert (tmp_path / "elsewhere" / "mine.txt").read_text() == "mine"


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
    for row in table(dataset / "patches.csv"):
        corner_and_label = f"_x{row['x']}_y{row['y']}_{row['label']}.png"
        assert (dataset / row["split"] / "image" / (row["slide"] + corner_and_label)).is_file()
        patches.setdefault(row["slide"], set()).add(corner_and_label)
    return patches


def test_a_failing_run_keeps_the_old_patches(dataset):
    main(options_for(dataset))
    before = files(dataset / "train")
    with pytest.raises(DatasetError, match="no positive"):
        main(options_for(dataset, min_tumour=0.999, max_tumour=1.0, restart=True))
    assert files(dataset / "train") == before
    assert not (dataset / ".patches.part").exists()


def test_a_bad_slide_is_listed_and_skipped_and_fails_a_strict_run(dataset):
    (dataset / "images" / "d.tif").write_bytes(b"no slide")
    write_annotations(dataset / "annotations" / "d.xml")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    with pytest.raises(SlideError, match="1 slides failed"):
        main(options_for(dataset, strict=True))
    assert not (dataset / "train").exists()
    main(options_for(dataset))
    status, reason = statuses(dataset)["d"]
    assert status == "failed"
    assert "d.tif: not a readable TIFF" in reason


def test_pixels_damaged_at_level_0_remove_all_patches_of_the_slide(dataset):
    image = write_slide(dataset / "images" / "d.tif")
    with tifffile.TiffWriter(dataset / "images" / "d.tif") as file:
        file.write(image, tile=(64, 64), photometric="rgb", compression="deflate", metadata=None)
        file.write(
            np.ascontiguousarray(image[::16, ::16]),
            subfiletype=1,
            tile=(64, 64),
            photometric="rgb",
            compression="deflate",
            metadata=None,
        )
    with tifffile.TiffFile(dataset / "images" / "d.tif") as file:
        offset = file.pages[0].dataoffsets[8]
    with (dataset / "images" / "d.tif").open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\0" * 100)
    write_annotations(dataset / "annotations" / "d.xml")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert statuses(dataset)["d"][0] == "failed"
    assert not list((dataset / "train").rglob("d_*"))
    assert not [row for row in table(dataset / "patches.csv") if row["slide"] == "d"]


def test_an_unknown_group_fails_its_slide_only(dataset):
    write_slide(dataset / "images" / "d.tif")
    write_annotations(dataset / "annotations" / "d.xml", group="benign")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert "unknown annotation group benign" in statuses(dataset)["d"][1]


def test_annotations_outside_of_the_slide_fail_it(dataset):
    write_slide(dataset / "images" / "d.tif")
    write_annotations(
        dataset / "annotations" / "d.xml", corners=[(9000, 9000), (9500, 9000), (9500, 9500)]
    )
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert "lie outside" in statuses(dataset)["d"][1]


def test_unused_slides_are_listed_and_never_negatives(dataset, caplog):
    for name in ("unknown", "normal_1", "sound", "later"):
        write_slide(dataset / "elsewhere" / f"{name}.tif")
    (dataset / "images" / "deeper").symlink_to(dataset / "elsewhere")
    write_annotations(dataset / "annotations" / "lonely.xml")
    (dataset / "images" / "notes.txt").write_text("x")
    (dataset / "splits.csv").write_text(
        "slide,split,label\na,train,\nb,val,\nc,test,partial\nunknown,train,\n"
        "normal_1,train,\nsound,test,normal\nabsent,train,\n"
    )
    with caplog.at_level("INFO"):
        main(options_for(dataset))
    outcomes = statuses(dataset)
    assert {name: status for name, (status, _) in outcomes.items()} == {
        "a": "used",
        "b": "used",
        "c": "used",
        "normal_001": "used",
        "sound": "used",
        "unknown": "unused",
        "later": "unused",
        "lonely": "unused",
    }
    assert "not known to be normal" in outcomes["unknown"][1]
    assert "outlines without a slide" in outcomes["lonely"][1]
    rows = table(dataset / "patches.csv")
    assert not [row for row in rows if row["slide"] == "c" and row["label"] == "0"]
    assert [row for row in rows if row["slide"] == "sound" and row["label"] == "0"]
    assert "ignored files: 1 .txt" in caplog.text
    assert "absent" in caplog.text


def test_two_slides_of_the_same_name_fail(dataset):
    write_slide(dataset / "images" / "again" / "a.tif")
    write_slide(dataset / "images" / "d.tif")
    write_annotations(dataset / "annotations" / "d.xml")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert statuses(dataset)["a"][0] == "failed"
    assert "2 slides of this name" in statuses(dataset)["a"][1]


def test_a_slide_smaller_than_a_tile_fails(dataset):
    write_slide(dataset / "images" / "normal_tiny.tif", size=(40, 384))
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nnormal_tiny,val\n")
    main(options_for(dataset))
    assert "384×40 px is smaller than a window of 64 px" in statuses(dataset)["normal_tiny"][1]


def test_a_slide_without_candidates_names_the_flag_to_relax(dataset):
    path = dataset / "images" / "normal_white.tif"
    tifffile.imwrite(path, np.full((200, 200, 3), 255, np.uint8), tile=(64, 64), photometric="rgb")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nnormal_white,val\n")
    main(options_for(dataset))
    status, reason = statuses(dataset)["normal_white"]
    assert status == "unused"
    assert "no tissue found" in reason
    assert "--min_tissue" in reason


def test_fewer_candidates_than_the_limit_are_all_taken_and_logged(dataset, caplog):
    caplog.set_level("INFO")
    main(
        options_for(
            dataset, max_per_bin=(0, 0, 0), max_positive=(1000, 1, 0), max_negative=(900, 1, 0)
        )
    )
    rows = [(row["split"], row["label"]) for row in table(dataset / "patches.csv")]
    # The slides have the same annotations and tissue; of the test split, all tiles are taken.
    positives, negatives = rows.count(("test", "1")), rows.count(("test", "0"))
    assert (rows.count(("train", "1")), rows.count(("train", "0"))) == (positives, negatives)
    split_lines = [line for line in caplog.messages if " slides, " in line]
    assert split_lines == [
        f"train: 1 slides, {positives} positives (fewer than the 1000 asked for), "
        f"{negatives} negatives (fewer than the 900 asked for)",
        "val: 1 slides, 1 positives, 1 negatives",
        f"test: 1 slides, {positives} positives, {negatives} negatives",
    ]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_positives_or_negatives_is_named_with_the_flag(dataset, split):
    slide = {"train": "a", "val": "b", "test": "c"}[split]
    write_annotations(dataset / "annotations" / f"{slide}.xml", corners=[(0, 0), (5, 0), (5, 5)])
    with pytest.raises(DatasetError, match=f"{split}: no positive .*--min_tumour"):
        main(options_for(dataset))
    write_annotations(
        dataset / "annotations" / f"{slide}.xml", corners=[(0, 0), (350, 0), (384, 320), (0, 310)]
    )
    with pytest.raises(DatasetError, match=f"{split}: no negative .*--min_tissue"):
        main(options_for(dataset))
    assert not (dataset / "train").exists()
    assert (dataset / "slides.csv").exists()


def test_a_split_without_slides_is_named(dataset):
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,train\nc,test\n")
    with pytest.raises(DatasetError, match="val: no slide"):
        main(options_for(dataset))


def test_a_missing_folder_and_a_folder_without_slides_are_errors(tmp_path):
    root = tmp_path / "mine"
    with pytest.raises(DatasetError, match="images: no such folder"):
        main(options_for(root))
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(b"x")
    (root / "images" / "b.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"no slide; found 2 \.png"):
        main(options_for(root))


def test_a_dataset_without_usable_slides_is_an_error(dataset):
    for name in "abc":
        (dataset / "images" / f"{name}.tif").write_bytes(b"")
    with pytest.raises(SlideError, match="no usable slide: 3 failed"):
        main(options_for(dataset))


def test_patches_at_a_resolution_need_that_of_the_slide(dataset):
    write_slide(dataset / "images" / "b.tif", mpp=0)
    with pytest.raises(DatasetError, match="val: no slide"):
        main(options_for(dataset, mpp=1.0, patch_size=32, stride=16))
    assert "pass --slide_mpp" in statuses(dataset)["b"][1]
    main(options_for(dataset, mpp=1.0, slide_mpp=0.5, patch_size=32, stride=16))
    rows = table(dataset / "patches.csv")
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
    assert {row["mpp"] for row in table(dataset / "patches.csv")} == {""}


def test_a_dataset_without_a_table_is_split_by_ratio_without_overlap(dataset):
    (dataset / "splits.csv").unlink()
    main(options_for(dataset))
    rows = table(dataset / "slides.csv")
    assert sorted(row["split"] for row in rows) == ["test", "train", "val"]


def test_camelyon_slides_follow_the_projects_tables(tmp_path):
    root = tmp_path / "camelyon17"
    listed = read_splits(ROOT / "dataset" / "splits_patient.csv", "camelyon17")
    slides = {
        "patient_015_node_1": "val",
        "patient_017_node_1": "test",
        "patient_024_node_1": "train",
    }
    assert slides.items() <= listed.items()
    for slide in (*slides, "patient_099_node_1"):
        write_slide(root / "images" / f"{slide}.tif")
        write_annotations(root / "annotations" / f"{slide}.xml", group="metastases")
    main(options_for(root))
    outcomes = {row["slide"]: (row["status"], row["split"]) for row in table(root / "slides.csv")}
    assert outcomes.pop("patient_099_node_1") == ("unused", "")
    assert outcomes == {slide: ("used", split) for slide, split in slides.items()}


@pytest.mark.parametrize(
    ("flags", "splits"),
    [
        ({}, {"015": {"val"}, "017": {"test"}, "046": {"test"}}),
        (
            {"split": "authors"},
            {"015": {"train", "val"}, "017": {"train", "test"}, "046": {"train", "test"}},
        ),
    ],
    ids=["default", "authors"],
)
def test_patients_whose_slides_the_authors_split_are_in_one_split_by_default(
    tmp_path, flags, splits
):
    root = tmp_path / "camelyon17"
    for slide in (
        "015_node_1",
        "015_node_2",
        "017_node_1",
        "017_node_2",
        "046_node_3",
        "046_node_4",
        "024_node_1",
    ):
        write_slide(root / "images" / f"patient_{slide}.tif")
        write_annotations(root / "annotations" / f"patient_{slide}.xml", group="metastases")
    main(options_for(root, **flags))
    splits_by_patient = {}
    for row in table(root / "patches.csv"):
        splits_by_patient.setdefault(row["slide"].split("_")[1], set()).add(row["split"])
    assert splits_by_patient == {**splits, "024": {"train"}}


def test_excluded_camelyon_slides_are_listed_with_the_reason(tmp_path):
    root = tmp_path / "camelyon16"
    for slide in ("tumor_1", "tumor_013", "tumor_003"):
        write_slide(root / "images" / f"{slide}.tif")
        write_annotations(root / "annotations" / f"{slide}.xml", group="_0")
    for slide in ("normal_86", "normal_144"):
        write_slide(root / "images" / f"{slide}.tif")
    (root / "splits.csv").write_text(
        "slide,split\ntumor_001,train\ntumor_013,val\ntumor_003,test\nnormal_086,train\n"
        "normal_144,train\n"
    )
    main(options_for(root))
    outcomes = statuses(root)
    assert outcomes["tumor_001"] == ("used", "")
    assert outcomes["normal_086"][0] == "excluded"
    assert "tumor_111" in outcomes["normal_086"][1]
    assert outcomes["normal_144"][0] == "used"
    assert outcomes["normal_144"][1].startswith("check: ")


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


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
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
    rows = table(root / "slides.csv")
    assert [(row["slide"], row["positives"], row["mpp"]) for row in rows] == [
        ("tumor_001", "126", "0.2500"),
        ("tumor_002", "86", "0.2500"),
        ("tumor_003", "100", "0.2500"),
    ]


def test_three_shards_and_a_merge_leave_byte_for_byte_what_one_run_leaves(dataset):
    write_slide(dataset / "images" / "d.tif")
    (dataset / "images" / "d.tif").write_bytes(b"no slide")
    write_annotations(dataset / "annotations" / "d.xml")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    limits = {"max_per_bin": (3, 2, 0), "max_positive": (0, 0, 5), "max_negative": (4, 4, 4)}
    main(options_for(dataset, **limits))
    complete = files(dataset)
    for split in ("train", "val", "test"):
        shutil.rmtree(dataset / split)
    for number in (1, 2, 3):
        main(options_for(dataset, shard=f"{number}/3", **limits))
        assert not (dataset / "train").exists()
    main(options_for(dataset, merge=True, **limits))
    assert files(dataset) == complete


def test_a_merge_without_all_slides_names_the_missing_ones(dataset):
    main(options_for(dataset, shard="1/1"))
    (dataset / ".measured" / "b.npz").unlink()
    with pytest.raises(
        DatasetError, match="1 of 3 slides are not scored with these options, such as b"
    ):
        main(options_for(dataset, merge=True))
    with pytest.raises(DatasetError, match="3 of 3 slides"):
        main(options_for(dataset, merge=True, stride=64))
    assert not (dataset / "train").exists()


def test_a_shard_scores_only_slides_that_are_not_scored_yet(dataset, caplog):
    main(options_for(dataset, shard="1/1"))
    (dataset / ".measured" / "b.npz").unlink()
    write_annotations(dataset / "annotations" / "c.xml", corners=[(64, 64), (190, 64), (190, 176)])
    with caplog.at_level("INFO"):
        main(options_for(dataset, shard="1/1"))
    assert "2 slides scored, 1 before" in caplog.text
