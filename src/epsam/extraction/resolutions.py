"""Are the patches of a dataset of one resolution?"""

from collections import Counter
from collections.abc import Sequence

WARN_RATIO, REFUSE_RATIO = 1.1, 1.5
"""This project: scanners of one magnification differ by a few per cent, the next one by 2."""


def describe_mixture(sizes_um: Sequence[float]) -> tuple[float, str]:
    """The ratio of the largest to the smallest pixel size, and how often each occurs, in words.

    1 and nothing for less than two sizes.
    """
    if len(sizes_um) < 2:
        return 1.0, ""
    counts = Counter(f"{size:.2f}" for size in sizes_um)
    listed = [f"{count} of {size} µm/px" for size, count in sorted(counts.items())]
    return max(sizes_um) / min(sizes_um), ", ".join(listed)
