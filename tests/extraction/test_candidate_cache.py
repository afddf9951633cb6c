import shutil

import pytest

from epsam.core.errors import DatasetError
from extract_patches import main
from support.slide_dataset import files, make_dataset, options_for, write_annotations, write_slide


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "mine")


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
