"""Which page of a slide file is which level of its pyramid."""

import math


def level_downsample(
    size0: tuple[int, int], size: tuple[int, int], tile: tuple[int, int]
) -> float | None:
    """Downsample of a page of `size` (width, height) against level 0 of `size0`; None if the page
    shows something else.

    A power of two where one fits, since sizes are rounded and some scanners pad each level to whole
    tiles: the ratio of the sizes would then shift small levels by many level-0 pixels. Any other
    downsample must agree in both directions to 2 %.
    """
    ratios = [full / max(1, part) for full, part in zip(size0, size, strict=True)]
    # Padding enlarges a level and so lowers its ratio: the larger ratio is nearer to the truth.
    nominal = 2.0 ** max(0, round(math.log2(max(ratios))))
    if _is_rounded_side(size0[0] / nominal, size[0], tile[0]) and _is_rounded_side(
        size0[1] / nominal, size[1], tile[1]
    ):
        return nominal
    if abs(ratios[0] / ratios[1] - 1.0) <= 0.02:
        return (ratios[0] + ratios[1]) / 2.0
    return None


def _is_rounded_side(exact: float, side: int, tile_side: int) -> bool:
    """Whether `side` is `exact` rounded down or up by less than a pixel, or padded to whole
    tiles.
    """
    excess = side - exact
    if excess < -1.0:
        return False
    is_padded = side % tile_side == 0
    return excess < (tile_side if is_padded else 1.0)
