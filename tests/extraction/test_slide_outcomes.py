import numpy as np
import pytest
import tifffile

from epsam.core.errors import DatasetError, SlideError
from extract_patches import main
from support.slide_dataset import (
    make_dataset,
    options_for,
    statuses,
    write_annotations,
    write_slide,
)
from support.tables import read_rows


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "mine")


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
    assert not [row for row in read_rows(dataset / "patches.csv") if row["slide"] == "d"]


def test_an_unknown_group_fails_its_slide_only(dataset):
    write_slide(dataset / "images" / "d.tif")
    write_annotations(dataset / "annotations" / "d.xml", group="benign")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert "unknown annotation group 'benign'" in statuses(dataset)["d"][1]


def test_annotations_outside_of_the_slide_fail_it(dataset):
    write_slide(dataset / "images" / "d.tif")
    write_annotations(
        dataset / "annotations" / "d.xml", corners=[(9000, 9000), (9500, 9000), (9500, 9500)]
    )
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert "lie outside" in statuses(dataset)["d"][1]


def test_a_slide_smaller_than_a_tile_fails(dataset):
    write_slide(dataset / "images" / "normal_tiny.tif", size=(40, 384))
    (dataset / "splits.csv").write_text(
        "slide,split,label\na,train,\nb,val,\nc,test,\nnormal_tiny,val,normal\n"
    )
    main(options_for(dataset))
    assert "384×40 px is smaller than a window of 64 px" in statuses(dataset)["normal_tiny"][1]


def test_a_slide_without_candidates_names_the_flag_to_relax(dataset):
    path = dataset / "images" / "normal_white.tif"
    tifffile.imwrite(path, np.full((200, 200, 3), 255, np.uint8), tile=(64, 64), photometric="rgb")
    (dataset / "splits.csv").write_text(
        "slide,split,label\na,train,\nb,val,\nc,test,\nnormal_white,val,normal\n"
    )
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
    rows = [(row["split"], row["label"]) for row in read_rows(dataset / "patches.csv")]
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


def test_a_dataset_without_usable_slides_is_an_error(dataset):
    for name in "abc":
        (dataset / "images" / f"{name}.tif").write_bytes(b"")
    with pytest.raises(SlideError, match="no usable slide: 3 failed"):
        main(options_for(dataset))
