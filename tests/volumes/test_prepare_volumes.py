"""prepare_volumes.py on made-up volumes in the layouts of three sets: files, slices, splits, and
what it says of bad input.
"""

import dataclasses

import numpy as np
import pytest

import prepare_volumes
from epsam.config.volumes import VolumeOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.data.images import read_mask, read_rgb
from epsam.data.patches import list_labelled_patches
from epsam.volumes.layouts import scale_percentiles, scale_to_range, scale_window
from epsam.volumes.slices import cut_slices, read_volume
from epsam.volumes.splits import draw_splits

nibabel = pytest.importorskip("nibabel")

SHAPE = (16, 12, 4)


def write_volume(path, voxels, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.eye(4) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(np.asarray(voxels, np.float32), affine), path)


def example_voxels(seed=0):
    return np.random.default_rng(seed).uniform(-200, 300, SHAPE)


def example_labels(value=1):
    """The target in slice 2 alone: x 2 … 5, y 3 … 8."""
    labels = np.zeros(SHAPE)
    labels[2:6, 3:9, 2] = value
    return labels


def write_brats(root, count=4):
    for number in range(count):
        case = f"BraTS19_{number}"
        folder = root / ("HGG" if number % 2 else "LGG") / case
        write_volume(folder / f"{case}_flair.nii.gz", example_voxels(number))
        write_volume(folder / f"{case}_t1.nii.gz", example_voxels(number))
        # Parts of the tumour have labels of their own.
        write_volume(folder / f"{case}_seg.nii.gz", example_labels(4))
        # As archives made on a Mac bring it.
        (folder / f"._{case}_flair.nii.gz").write_bytes(b"x")


def options_for(tmp_path, **changes):
    options = VolumeOptions(
        source=str(tmp_path / "source"),
        dataset_type="mine",
        dataset_root=str(tmp_path / "dataset"),
        size=16,
    )
    return dataclasses.replace(options, **changes)


def names_in(folder):
    return sorted(path.name for path in folder.rglob("*.png"))


def test_brats_becomes_slices_split_by_case(tmp_path):
    write_brats(tmp_path / "source")
    options = options_for(tmp_path)
    prepare_volumes.main(options)
    data = tmp_path / "dataset" / "mine"
    rows = read_table(data / "patches.csv", ("id", "label", "case", "split"))
    assert len(rows) == 4 * SHAPE[2]
    assert len({(row["case"], row["split"]) for row in rows}) == 4
    cases = {split: set() for split in ("train", "val", "test")}
    for row in rows:
        cases[row["split"]].add(row["case"])
        folder = data / row["split"]
        name = f"{row['id']}_{row['label']}.png"
        assert (folder / "image" / name).is_file()
        assert (folder / "mask" / name).is_file() == (row["label"] == "1")
        assert row["label"] == str(int(row["id"].endswith("-002")))
    assert [len(cases[split]) for split in ("train", "val", "test")] == [2, 1, 1]
    patches = list_labelled_patches(data / "train")
    assert sorted(patch.label for patch in patches) == [0, 0, 0, 0, 0, 0, 1, 1]

    # Again, by another seed: nothing of the former splits stays.
    prepare_volumes.main(dataclasses.replace(options, seed=1))
    assert len(names_in(data)) == len(rows) + 4


def test_a_slice_is_seen_from_below_with_the_front_on_top_and_padded_to_a_square(tmp_path):
    write_brats(tmp_path / "source", 1)
    layout = prepare_volumes.select_layout("brats2019", "")
    (files,) = prepare_volumes.list_cases(layout, tmp_path / "source")
    image, mask = list(cut_slices(files, layout, 16, 1))[2][1:]
    voxels = example_voxels()
    grey = np.round((voxels - voxels.min()) / (voxels.max() - voxels.min()) * 255)
    for x, y in ((0, 0), (15, 11), (3, 8)):
        # 12 rows between 2 of padding on either side; x runs to the left.
        row, column = 2 + 11 - y, 15 - x
        assert image[row, column].tolist() == [grey[x, y, 2]] * 3
        assert mask[row, column] == bool(example_labels()[x, y, 2])
    assert not image[:2].any()
    assert not image[14:].any()
    assert mask.sum() == 4 * 6


def test_a_volume_is_the_same_however_its_axes_are_stored(tmp_path):
    voxels = example_voxels()
    write_volume(tmp_path / "a.nii", voxels)
    # Slices first, x from the other side: the file's header says so.
    turned = np.transpose(voxels[::-1], (2, 0, 1))
    affine = np.zeros((4, 4))
    affine[0, 1], affine[1, 2], affine[2, 0], affine[3, 3] = -1, 1, 1, 1
    write_volume(tmp_path / "b.nii", turned, affine)
    first, second = read_volume(tmp_path / "a.nii"), read_volume(tmp_path / "b.nii")
    assert np.array_equal(first, second)
    assert np.allclose(first, voxels)


def test_abdomen_takes_one_organ_of_masks_that_lie_apart(tmp_path):
    source = tmp_path / "source"
    for number in range(1, 4):
        labels = example_labels(3)
        labels[0, 0, 1] = 1
        write_volume(source / "Part1" / f"Case_0000{number}_0000.nii.gz", example_voxels(number))
        write_volume(source / "Mask" / f"Case_0000{number}.nii.gz", labels)
    prepare_volumes.main(options_for(tmp_path, layout="abdomenct1k", organ="spleen"))
    masks = sorted((tmp_path / "dataset" / "mine").glob("*/mask/*.png"))
    assert {path.stem for path in masks} == {f"Case_0000{number}-002_1" for number in (1, 2, 3)}
    assert read_mask(masks[0]).sum() == 4 * 6


def test_heart_takes_the_volumes_with_labels(tmp_path):
    source = tmp_path / "source" / "Task02_Heart"
    for number in (3, 4, 5):
        write_volume(source / "imagesTr" / f"la_00{number}.nii.gz", example_voxels(number))
        write_volume(source / "labelsTr" / f"la_00{number}.nii.gz", example_labels())
    write_volume(source / "imagesTs" / "la_001.nii.gz", example_voxels())
    prepare_volumes.main(options_for(tmp_path, layout="msd_heart", every=2))
    rows = read_table(tmp_path / "dataset" / "mine" / "patches.csv", ("case",))
    assert {row["case"] for row in rows} == {"la_003", "la_004", "la_005"}
    assert {row["id"][-3:] for row in rows} == {"000", "002"}


def test_grey_values_by_hand():
    volume = np.array([-1000, -160, 40, 240, 3000], np.float32)
    assert scale_window(volume).tolist() == [0, 0, 0.5, 1, 1]
    assert scale_to_range(np.array([2, 4, 6], np.float32)).tolist() == [0, 0.5, 1]
    assert scale_to_range(np.full(3, 7, np.float32)).tolist() == [0, 0, 0]
    # Percentiles 1 and 99 of 0 … 100 are 1 and 99.
    ramp = scale_percentiles(np.arange(101, dtype=np.float32))
    assert (ramp[0], ramp[1], ramp[50], ramp[99], ramp[100]) == (0, 0, 0.5, 1, 1)


def test_black_slices_are_left_out(tmp_path):
    write_brats(tmp_path / "source", 1)
    volume = next((tmp_path / "source").rglob("BraTS19_0_flair.nii.gz"))
    voxels = np.maximum(example_voxels(), 0)
    voxels[:, :, 0] = 0
    write_volume(volume, voxels)
    layout = prepare_volumes.select_layout("brats2019", "")
    (files,) = prepare_volumes.list_cases(layout, tmp_path / "source")
    assert [piece.number for piece in cut_slices(files, layout, 16, 1)] == [1, 2, 3]


def test_the_draw_does_not_depend_on_the_order_of_cases():
    cases = [f"c{number}" for number in range(20)]
    splits = draw_splits(cases, 0.1, 0.2, 5)
    assert splits == draw_splits(cases[::-1], 0.1, 0.2, 5)
    assert splits != draw_splits(cases, 0.1, 0.2, 6)
    counts = [list(splits.values()).count(split) for split in ("train", "val", "test")]
    assert counts == [14, 2, 4]


def write_splits(path, rows):
    path.write_text("case,split\n" + "".join(f"{case},{split}\n" for case, split in rows))
    return str(path)


def test_a_table_of_splits_is_followed(tmp_path):
    write_brats(tmp_path / "source", 3)
    table = write_splits(
        tmp_path / "s.csv",
        [("BraTS19_0", "test"), ("BraTS19_1", "train"), ("BraTS19_2", "val"), ("other", "val")],
    )
    prepare_volumes.main(options_for(tmp_path, splits=table))
    rows = read_table(tmp_path / "dataset" / "mine" / "patches.csv", ("case", "split"))
    assert {(row["case"], row["split"]) for row in rows} == {
        ("BraTS19_0", "test"),
        ("BraTS19_1", "train"),
        ("BraTS19_2", "val"),
    }


def remove_labels(source):
    next(source.rglob("BraTS19_1_seg*")).unlink()


def copy_case(source):
    for path in list(source.rglob("BraTS19_1_*")):
        target = source / "again" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())


def add_nan(source):
    voxels = example_voxels()
    voxels[0, 0, :2] = np.nan
    write_volume(next(source.rglob("BraTS19_1_flair*")), voxels)


def cut_file(source):
    path = next(source.rglob("BraTS19_1_flair*"))
    path.write_bytes(path.read_bytes()[:200])


def give_four_axes(source):
    write_volume(next(source.rglob("BraTS19_1_flair*")), np.ones((4, 4, 4, 2)))


def give_other_labels(source):
    write_volume(next(source.rglob("BraTS19_1_seg*")), np.ones((4, 4, 4)))


def remove_target(source):
    for path in source.rglob("*_seg*"):
        write_volume(path, np.zeros(SHAPE))


def remove_background(source):
    for path in source.rglob("*_seg*"):
        write_volume(path, np.ones(SHAPE))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_labels, r"_flair.nii.gz: its labels BraTS19_1_seg.nii.gz are missing; unpack them"),
        (copy_case, "both are of case BraTS19_1; remove one"),
        (add_nan, "BraTS19_1_flair.nii.gz: 2 voxels are NaN or infinite; mend the volume, or rem"),
        (cut_file, "BraTS19_1_flair.nii.gz: no readable NIfTI volume .*; get it again"),
        (give_four_axes, "BraTS19_1_flair.nii.gz: 4 axes, expected 3; give one volume a file"),
        (give_other_labels, "of 4×4×4 voxels, the volume of 16×12×4; give the labels of this vol"),
        (remove_target, "train: would have no slice with the target; add cases, or take another"),
        (remove_background, "train: would have no slice without the target; add cases, or take"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_volumes_are_one_line_and_leave_no_slices(tmp_path, spoil, message):
    write_brats(tmp_path / "source")
    spoil(tmp_path / "source")
    with pytest.raises(DatasetError, match=message) as caught:
        prepare_volumes.main(options_for(tmp_path))
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path / "dataset") == []


def test_what_was_there_stays_if_the_volumes_turn_bad(tmp_path):
    write_brats(tmp_path / "source")
    prepare_volumes.main(options_for(tmp_path))
    before = names_in(tmp_path / "dataset")
    add_nan(tmp_path / "source")
    with pytest.raises(DatasetError, match="NaN"):
        prepare_volumes.main(options_for(tmp_path))
    assert names_in(tmp_path / "dataset") == before
    assert (tmp_path / "dataset" / "mine" / "patches.csv").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ""}, "--source: no folder named"),
        ({"layout": "msd_heart"}, "no volumes of this layout below it; correct --source or --lay"),
        ({"val": 0.9}, "4 cases: none is left to train on beside 4 for validation and 1 for test"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, changes, message):
    write_brats(tmp_path / "source")
    with pytest.raises(DatasetError, match=message):
        prepare_volumes.main(options_for(tmp_path, **changes))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("BraTS19_0", "val"), ("BraTS19_0", "test")],
            r"s.csv line 3: case BraTS19_0 is in val and in test; leave one of them",
        ),
        ([("BraTS19_0", "holdout")], "s.csv line 2: split 'holdout'; write train, val, test"),
        ([("BraTS19_0", "val")], "s.csv: 3 of 4 cases have no split, such as BraTS19_1; add them"),
    ],
)
def test_bad_tables_of_splits_are_one_line(tmp_path, rows, message):
    write_brats(tmp_path / "source")
    table = write_splits(tmp_path / "s.csv", rows)
    with pytest.raises(DatasetError, match=message):
        prepare_volumes.main(options_for(tmp_path, splits=table))


def test_slices_are_grey_as_rgb(tmp_path):
    write_brats(tmp_path / "source", 3)
    prepare_volumes.main(options_for(tmp_path))
    image = read_rgb(next((tmp_path / "dataset" / "mine").glob("*/image/*.png")))
    assert image.shape == (16, 16, 3)
    assert np.array_equal(image[..., 0], image[..., 2])
