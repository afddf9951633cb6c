"""Pages of a slide file as levels of its pyramid."""

import pytest

from epsam.wsi.pyramid import level_downsample


@pytest.mark.parametrize(
    ("size0", "size", "tile", "downsample"),
    [
        (
            (2220, 2967),
            (138, 185),
            (240, 240),
            16.0,
        ),  # rounded down: the ratios are 16.09 and 16.04
        (
            (97_792, 221_184),
            (512, 512),
            (512, 512),
            512,
        ),  # padded to one tile: the ratios are 191 and 432
        ((97_792, 221_184), (6144, 13_824), (512, 512), 16),
        ((46_000, 32_914), (11_500, 8228), (256, 256), 4),
        ((9000, 6000), (3000, 2000), (256, 256), 3),  # not a power of two
        ((1000, 700), (1000, 700), (256, 256), 1),
    ],
)
def test_downsample_of_a_level_is_nominal(size0, size, tile, downsample):
    assert level_downsample(size0, size, tile) == downsample


def test_a_macro_image_is_no_level():
    assert level_downsample((46_000, 32_914), (1280, 431), (256, 256)) is None
