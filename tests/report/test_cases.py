import numpy as np
import pytest

from epsam.data.images import write_jpeg, write_mask, write_rgb
from epsam.inference.inputs import find_images
from epsam.report.cases import draw_image_cases, draw_slide_cases, select_cases


def test_the_lowest_the_middle_and_the_highest_are_shown():
    dice = {f"p{number}": (number * 8 % 21) / 20 for number in range(21)}
    ranks = [round(dice[name] * 20) for name in select_cases(list(dice), dice, 5)]
    assert ranks == [0, 5, 10, 15, 20]


def test_without_a_dice_names_are_evenly_spaced():
    assert select_cases(["a", "b", "c", "d", "e"], {}, 3) == ["a", "c", "e"]
    assert select_cases(["a", "b"], {}, 3) == ["a", "b"]
    assert select_cases([], {}, 3) == []


def test_images_stand_beside_ground_truth_and_mask(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    for name in ("a", "b", "broken"):
        write_rgb(tmp_path / "image" / f"{name}.png", np.full((64, 64, 3), 240, np.uint8))
        write_mask(tmp_path / "mask" / f"{name}.png", mask)
        write_mask(tmp_path / "out" / "mask" / f"{name}.png", ~mask)
    rows = [
        {"image": f"{name}.png", "status": status}
        for name, status in (("a", "done"), ("b", "done"), ("broken", "failed"))
    ]
    cases = draw_image_cases(find_images(tmp_path), rows, {"a.png": 0.5}, tmp_path / "out")
    assert list(cases) == ["a.png: Dice 0.500"]
    (panel,) = cases.values()
    # Three tiles of 300 px: the patch is white, the ground truth is tinted above, the mask below.
    tiles = [
        panel[26:326, 6 + 306 * number : 306 + 306 * number].astype(int) for number in range(3)
    ]
    upper, lower = (
        [tile[rows].mean() for tile in tiles] for rows in (slice(20, 130), slice(170, 280))
    )
    assert upper[0] == lower[0] == upper[2] == lower[1] == 240
    assert max(upper[1], lower[2]) < 235


def test_a_slide_is_shown_as_its_overlay_made_smaller(tmp_path):
    write_jpeg(tmp_path / "s" / "overlay.jpg", np.full((500, 1920, 3), 90, np.uint8))
    row = {
        "slide": "s",
        "status": "done",
        "tumour_mm2": "1.5",
        "tissue_mm2": "6.0",
        "tumour_share": "0.25",
        "regions": 3,
    }
    ((caption, image),) = draw_slide_cases(
        [row, {"slide": "x", "status": "failed"}], {}, tmp_path
    ).items()
    assert caption == "s; tumour 1.50 of 6.00 mm² of tissue (25 %), 3 regions"
    assert image.shape == (250, 960, 3)
    assert image.mean() == pytest.approx(90, abs=2)
