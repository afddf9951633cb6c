import re

import numpy as np
import pytest
import tifffile

from epsam.core.artifact import Key
from epsam.data.images import read_mask, read_rgb, write_mask, write_rgb
from epsam.inference.image_folder import segment_folder, summarize_images
from epsam.inference.image_results import ResultCache
from epsam.inference.inputs import find_images
from epsam.inference.tile_model import Gate, TiledImage, segment_images
from support.fake_tile_model import FakeTileModel, blue, draw_slide
from support.slide_runs import KEY, OTHER_KEY

TUMOUR = (8, 8, 20, 24)
OFF = Gate(False, 0.5)


@pytest.fixture
def segment(tmp_path):
    """Segments the images of a folder; returns the model, the rows by image, and the counts."""

    def run(gate, key=KEY, model=None, **settings):
        model = model or FakeTileModel()
        rows, counts = segment_folder(
            find_images(tmp_path, "names"), model, tmp_path / "out", 0.25, gate, key, **settings
        )
        return model, {row["image"]: row for row in rows}, counts

    return run


def write_image(folder, name, height=32, width=32):
    image = draw_slide(height, width, [(0, 0, width, height)], [TUMOUR])
    write_rgb(folder / "image" / f"{name}.png", image)
    return image


class FaintTileModel(FakeTileModel):
    """Tumour has a probability of 0.3."""

    def segment_passed(self, tiles, contexts, timer):
        return 0.3 * super().segment_passed(tiles, contexts, timer)


def test_a_pixel_is_tumour_above_the_mask_threshold(tmp_path, segment):
    is_tumour = blue(write_image(tmp_path, "a"))
    segment(OFF, model=FaintTileModel())
    assert not read_mask(tmp_path / "out" / "mask" / "a.png").any()
    segment(OFF, OTHER_KEY, FaintTileModel(), mask_threshold=0.25)
    assert np.array_equal(read_mask(tmp_path / "out" / "mask" / "a.png"), is_tumour)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: write_mask(path, np.ones((32, 31), bool)),
        lambda path: path.write_bytes(b"no image"),
    ],
    ids=["other size", "unreadable"],
)
def test_ground_truth_that_does_not_fit_fails_its_image_before_the_model_runs(
    tmp_path, segment, caplog, spoil
):
    for name in "abc":
        write_mask(tmp_path / "mask" / f"{name}.png", blue(write_image(tmp_path, name)))
    spoil(tmp_path / "mask" / "b.png")
    model, rows, counts = segment(OFF)
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done"]
    assert rows["b.png"]["reason"].startswith(f"{tmp_path / 'mask' / 'b.png'}: ")
    assert "\n" not in rows["b.png"]["reason"]
    assert rows["b.png"]["reason"] in caplog.text
    assert (model.classified, model.encoded) == (2, 2)
    assert sorted(path.name for path in (tmp_path / "out" / "mask").iterdir()) == ["a.png", "c.png"]
    assert {name: image_counts.dice for name, image_counts in counts.items()} == {
        "a.png": 1.0,
        "c.png": 1.0,
    }
    metrics = summarize_images(list(rows.values()), list(counts.values()))
    assert (metrics["images"], metrics["failed"], metrics["scored"]) == (3, 1, 2)


def test_ground_truth_of_another_size_is_an_error_with_both_sizes(tmp_path, segment):
    write_image(tmp_path, "a")
    write_mask(tmp_path / "mask" / "a.png", np.ones((24, 31), bool))
    assert "mask of 31×24 for an image of 32×32; resize it" in segment(OFF)[1]["a.png"]["reason"]


def test_the_gate_empties_only_images_without_a_label(tmp_path, segment):
    image = write_image(tmp_path, "x_1")
    write_image(tmp_path, "y")
    write_image(tmp_path, "z_0")
    model, rows, _ = segment(Gate(True, 0.9))
    assert np.array_equal(read_mask(tmp_path / "out" / "mask" / "x_1.png"), blue(image))
    assert (rows["x_1.png"]["gated"], rows["x_1.png"]["label"]) == (0, 1)
    assert not read_mask(tmp_path / "out" / "mask" / "y.png").any()
    # 12 of 32 columns and 16 of 32 rows are blue.
    assert (rows["y.png"]["gated"], rows["y.png"]["probability"]) == (1, 12 * 16 / 32**2)
    assert not read_mask(tmp_path / "out" / "mask" / "z_0.png").any()
    assert (model.classified, model.encoded) == (2, 1), (
        "SAM saw x_1 alone, the classifier not even z_0"
    )


def test_an_image_without_a_label_is_segmented_where_the_gate_is_open_or_off(tmp_path, segment):
    image = write_image(tmp_path, "y")
    for gate in (Gate(False, 0.9), Gate(True, 12 * 16 / 32**2)):
        assert segment(gate, Key({}, {"gate": str(gate)}))[0].encoded == 1
        assert np.array_equal(read_mask(tmp_path / "out" / "mask" / "y.png"), blue(image))


def test_in_a_labelled_image_of_several_tiles_the_gate_empties_the_normal_tiles(tmp_path, segment):
    image = write_image(tmp_path, "large_1", 32, 80)
    model, rows, _ = segment(Gate(True, 0.1))
    assert (rows["large_1.png"]["windows"], rows["large_1.png"]["gated"], model.encoded) == (
        3,
        2,
        1,
    )
    assert np.array_equal(read_mask(tmp_path / "out" / "mask" / "large_1.png"), blue(image))


def test_images_share_batches_and_each_has_the_result_that_it_has_alone(tmp_path, segment):
    """Five images of one tile and one of three, batches of four: 4 + 4 tiles."""
    images = {name: write_image(tmp_path, name) for name in "abcde"}
    images["large"] = write_image(tmp_path, "large", 32, 80)
    write_image(tmp_path, "z_0")
    (tmp_path / "image" / "broken.png").write_bytes(b"no image")
    model, rows, _ = segment(OFF)
    assert model.batches == [4, 4]
    keys = [(name, 0) for name in "abcde"] + [("large", number) for number in range(3)]
    assert sorted(model.keys) == keys
    assert list(rows) == [
        "a.png", "b.png", "broken.png", "c.png", "d.png", "e.png", "large.png", "z_0.png"
    ]  # fmt: skip
    assert [name for name, row in rows.items() if row["status"] == "failed"] == ["broken.png"]
    assert [rows[f"{name}.png"]["windows"] for name in ("a", "large", "z_0")] == [1, 3, 0]
    for name, image in images.items():
        assert np.array_equal(read_mask(tmp_path / "out" / "mask" / f"{name}.png"), blue(image))


def test_an_image_that_waits_for_its_batch_holds_no_finished_one_back(tmp_path):
    """Its tile passes the gate alone; the model segments it once nothing else comes."""
    tumour = draw_slide(32, 32, [], [(0, 0, 32, 32)])
    plain = draw_slide(32, 32, [], [])
    images = [TiledImage(name, plain, 32, 0.0, Gate(True, 0.5)) for name in "bcdefghi"]
    images.insert(0, TiledImage("a", tumour, 32, 0.0, Gate(True, 0.5)))
    complete = [image.name for image in segment_images(FakeTileModel(), images)]
    assert complete == list("bcdefghia")


@pytest.fixture
def segmented(tmp_path, segment):
    """Three images with ground truth, segmented once."""
    for name in "abc":
        write_mask(tmp_path / "mask" / f"{name}.png", blue(write_image(tmp_path, name)))
    return segment(OFF)


def test_finished_images_are_skipped_and_keep_their_rows(segment, segmented, caplog):
    caplog.set_level("INFO")
    model, rows, counts = segment(OFF)
    assert (model.classified, rows, counts) == (0, *segmented[1:])
    assert "3 of 3 images were finished before" in caplog.text


def rewritten(path):
    image = read_rgb(path)
    image[0, 0] = 0
    write_rgb(path, image)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("image/b.png", rewritten),
        ("mask/b.png", lambda path: write_mask(path, np.ones((32, 32), bool))),
        ("mask/b.png", lambda path: path.unlink()),
        ("out/mask/b.png", lambda path: path.unlink()),
        ("out/overlay/b.png", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ],
    ids=["image", "ground truth", "no ground truth", "mask removed", "overlay cut"],
)
def test_an_image_is_segmented_again_if_it_its_ground_truth_or_a_result_has_changed(
    tmp_path, segment, segmented, file, change
):
    change(tmp_path / file)
    model, rows, _ = segment(OFF)
    assert (model.classified, [row["status"] for row in rows.values()]) == (1, ["done"] * 3)
    assert segment(OFF)[0].classified == 0


def test_with_another_key_all_images_are_segmented_again(segment, segmented):
    assert segment(OFF, OTHER_KEY)[0].classified == 3


def test_an_interrupted_run_goes_on_with_the_next_image(tmp_path, segment, segmented):
    """Killed while the line of the second image was written: it and the third are done, the first
    is not.
    """
    cache = tmp_path / "out" / ".finished.jsonl"
    lines = cache.read_text("utf-8").split("\n")
    cache.write_text("\n".join(lines[:2]) + "\n" + lines[2][:40], "utf-8")
    assert segment(OFF)[0].classified == 2
    assert segment(OFF)[0].classified == 0


def test_an_image_that_failed_is_tried_again(tmp_path, segment):
    write_image(tmp_path, "a")
    (tmp_path / "image" / "b.png").write_bytes(b"no image")
    assert segment(OFF)[1]["b.png"]["status"] == "failed"
    write_image(tmp_path, "b")
    model, rows, _ = segment(OFF)
    assert (model.classified, rows["b.png"]["status"]) == (1, "done")


def test_an_image_that_is_gone_is_not_finished(tmp_path, segmented):
    item = find_images(tmp_path)[1]
    assert ResultCache(tmp_path / "out", KEY).find(item)
    item.image.unlink()
    assert ResultCache(tmp_path / "out", KEY).find(item) is None


@pytest.mark.parametrize(
    ("bits", "reason"), [(1, "all black \\(highest value 0 of 255\\)"), (12, "12 or fewer")]
)
def test_an_image_that_is_black_or_of_12_bits_fails_with_the_reason(
    tmp_path, segment, bits, reason
):
    write_image(tmp_path, "a")
    (tmp_path / "image" / "a.png").unlink()
    values = np.random.default_rng(0).integers(0, 2**bits, (32, 32, 3), np.uint16)
    if bits == 1:
        values *= 0
    tifffile.imwrite(tmp_path / "image" / "a.tif", values, photometric="rgb")
    model, rows, _ = segment(OFF)
    assert (model.classified, rows["a.tif"]["status"]) == (0, "failed")
    assert re.search(reason, rows["a.tif"]["reason"])


def test_images_of_one_name_in_two_folders_have_rows_and_masks_of_their_own(tmp_path, segment):
    for folder in ("case1", "case2"):
        write_image(tmp_path, f"{folder}/a")
    for _ in range(2):
        _, rows, _ = segment(OFF)
        assert list(rows) == ["case1-a.png", "case2-a.png"]
        assert [row["status"] for row in rows.values()] == ["done", "done"]
    masks = sorted(path.name for path in (tmp_path / "out" / "mask").iterdir())
    assert masks == ["case1-a.png", "case2-a.png"]
