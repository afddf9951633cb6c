import numpy as np

from epsam.data import colours
from epsam.data.colours import measure_colours
from epsam.data.images import write_rgb
from epsam.data.patches import Patch


def write_patch(folder, number, image):
    path = folder / f"p{number}_1.png"
    write_rgb(path, image)
    return Patch(path.stem, 1, path, None)


def test_mean_and_deviation_are_those_of_all_pixels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    # Blue never changes.
    images[..., 2] = 51
    patches = [write_patch(tmp_path, number, image) for number, image in enumerate(images)]
    mean, std = measure_colours(patches, 4)
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0))
    np.testing.assert_allclose(std[:2], pixels.std(axis=0)[:2])
    assert std[2] == 1


def test_of_many_patches_some_at_equal_distances_are_measured(tmp_path, monkeypatch):
    patches = []
    for number in range(5):
        image = np.full((2, 2, 3), 51 * number, dtype=np.uint8)
        patches.append(write_patch(tmp_path, number, image))
    monkeypatch.setattr(colours, "MEASURED_PATCHES", 3)
    # The first, the middle and the last: 0, 0.4 and 0.8.
    mean, _ = measure_colours(patches, 2)
    np.testing.assert_allclose(mean, [0.4] * 3)
