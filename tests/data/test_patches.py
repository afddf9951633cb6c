import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import (
    label_from_name,
    list_labelled_patches,
    list_patches,
    load_median_mpp,
    read_patch_size,
    read_square,
    require_both_classes,
    select_positives,
)


def put(folder, name, side=8):
    write_rgb(folder / "image" / name, np.zeros((side, side, 3), np.uint8))


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("a_1", 1),
        ("a_0", 0),
        ("a_1_0", 0),
        ("a", None),
        ("a_2", None),
        ("a1", None),
        ("slide_x0_y10", None),
    ],
)
def test_label_is_the_end_of_the_name(stem, label):
    assert label_from_name(stem) == label


def test_stray_files_shift_no_labels(tmp_path):
    # The published dataset class kept a label list of .png files beside an image list of all files
    # (docs/deviations.md, "Order of patches").
    put(tmp_path, "b_1.png")
    put(tmp_path, "a_0.png")
    (tmp_path / "image" / "Thumbs.db").touch()
    assert [(p.name, p.label) for p in list_labelled_patches(tmp_path)] == [("a_0", 0), ("b_1", 1)]


def test_masks_are_found_by_stem_whatever_their_suffix(tmp_path):
    put(tmp_path, "a_1.jpg")
    write_mask(tmp_path / "mask" / "a_1.png", np.ones((8, 8), bool))
    patch = select_positives(list_labelled_patches(tmp_path))[0]
    assert patch.ground_truth().all()


def test_a_name_without_label_is_an_error_that_names_it(tmp_path):
    put(tmp_path, "a_1.png")
    put(tmp_path, "plain.png")
    with pytest.raises(DatasetError, match=r"1 of 2 names have no label, such as plain\.png"):
        list_labelled_patches(tmp_path)


def test_two_files_of_one_name_are_an_error(tmp_path):
    put(tmp_path, "a_1.png")
    (tmp_path / "image" / "a_1.jpg").write_bytes((tmp_path / "image" / "a_1.png").read_bytes())
    with pytest.raises(DatasetError, match="share a name"):
        list_patches(tmp_path / "image", tmp_path / "mask")


def test_a_mask_of_another_size_is_an_error_with_both_sizes(tmp_path):
    put(tmp_path, "a_1.png")
    write_mask(tmp_path / "mask" / "a_1.png", np.ones((4, 6), bool))
    with pytest.raises(DatasetError, match="mask of 6×4 for an image of 8×8"):
        list_labelled_patches(tmp_path)[0].ground_truth()


def test_a_missing_class_is_an_error(tmp_path):
    put(tmp_path, "a_1.png")
    with pytest.raises(DatasetError, match="1 positives and 0 negatives"):
        require_both_classes(list_labelled_patches(tmp_path), tmp_path)


def test_sizes_have_to_agree_and_be_square(tmp_path):
    put(tmp_path, "a_1.png", 8)
    put(tmp_path, "b_1.png", 9)
    patches = list_labelled_patches(tmp_path)
    assert read_patch_size(patches) == 8
    with pytest.raises(DatasetError, match="9×9 px among patches of 8×8"):
        read_square(patches[1], 8)
    with pytest.raises(DatasetError, match="no patches"):
        read_patch_size([])


def test_the_resolution_of_patches_is_the_median_of_those_in_the_table(tmp_path):
    for name in ("a_1.png", "b_1.png", "c_1.png", "d_1.png"):
        put(tmp_path, name)
    patches = list_patches(tmp_path / "image", tmp_path / "mask")
    table = tmp_path / "patches.csv"
    assert load_median_mpp(patches, table) is None
    table.write_text("id,label,mpp\na,1,0.25\nb,1,0.5\nc,1,0.25\nd,1,\na,0,9\nelsewhere,1,2.0\n")
    assert load_median_mpp(patches, table) == 0.25
    assert load_median_mpp(patches[3:], table) is None


@pytest.mark.parametrize("mark", [".results.json", ".finished.jsonl"])
def test_predictions_are_no_ground_truth(tmp_path, mark, caplog):
    for folder in ("image", "mask"):
        write_mask(tmp_path / folder / "b_1.png", np.ones((4, 4), bool))
    assert list_labelled_patches(tmp_path)[0].mask == tmp_path / "mask" / "b_1.png"
    (tmp_path / mark).write_text('{"stage": "infer"}')
    assert list_labelled_patches(tmp_path)[0].mask is None
    assert "predictions of infer.py, which are no ground truth" in caplog.text


def test_a_link_to_a_folder_of_predictions_is_no_ground_truth(tmp_path):
    write_mask(tmp_path / "results" / "mask" / "b_1.png", np.ones((4, 4), bool))
    write_mask(tmp_path / "test" / "image" / "b_1.png", np.ones((4, 4), bool))
    (tmp_path / "results" / ".results.json").write_text('{"stage": "infer"}')
    (tmp_path / "test" / "mask").symlink_to(tmp_path / "results" / "mask")
    assert list_labelled_patches(tmp_path / "test")[0].mask is None
