import numpy as np
import pytest

from epsam.core.seeding import generator
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.prompting.point_sampling import (
    BOX_END,
    BOX_START,
    NEGATIVE,
    PADDING,
    POSITIVE,
    collate_points,
    label_points,
    sample_points,
)


def sample_one(weight, count, rng):
    """The points of a batch of one image."""
    return sample_points(np.asarray(weight)[None], count, [rng])[0]


def sample_with_numpy(weight, count, rng):
    """The same sample for one image by numpy itself."""
    flat = weight.ravel().astype(np.float64)
    support = np.flatnonzero(flat)
    if not support.size:
        return []
    chosen = rng.choice(
        support, min(count, support.size), replace=False, p=flat[support] / flat[support].sum()
    )
    return [(index % weight.shape[1], index // weight.shape[1]) for index in chosen]


def test_no_weight_gives_no_points_rather_than_the_origin():
    assert sample_one(np.zeros((8, 8)), 50, generator(1)).shape == (0, 2)


def test_fewer_pixels_than_points_gives_every_pixel_once():
    mask = np.zeros((8, 6), bool)
    mask[1, 4] = mask[7, 0] = mask[3, 3] = True
    assert sorted(map(tuple, sample_one(mask, 50, generator(1)).tolist())) == [
        (0, 7),
        (3, 3),
        (4, 1),
    ]


def test_points_are_different_pixels_of_positive_weight():
    weight = np.zeros((40, 30))
    weight[10:30, 5:25] = np.random.default_rng(0).random((20, 20))
    points = sample_one(weight, 50, generator(1))
    assert len({tuple(p) for p in points.tolist()}) == 50
    assert all(weight[int(y), int(x)] for x, y in points)


def test_first_point_falls_on_a_pixel_with_probability_proportional_to_its_weight():
    weights = np.tile(np.array([[1.0, 3.0], [6.0, 0.0]]), (4000, 1, 1))
    rngs = [generator(i, "law") for i in range(4000)]
    pixels = [tuple(points[0]) for points in sample_points(weights, 1, rngs)]
    fractions = [pixels.count(p) / 4000 for p in [(0, 0), (1, 0), (0, 1), (1, 1)]]
    # Three standard deviations of a fraction of 0.6 over 4000 samples are 0.023.
    assert fractions == pytest.approx([0.1, 0.3, 0.6, 0.0], abs=0.025)


@pytest.mark.parametrize("seed", range(30))
def test_a_batch_has_the_points_of_numpy_image_by_image_and_consumes_as_many_numbers(
    seed,
):
    rng = np.random.default_rng(seed)
    weights = rng.random((5, *rng.integers(2, 40, 2))) ** 4 * (rng.random((5, 1, 1)) < 0.9)
    weights *= rng.random(weights.shape) < rng.random()
    weights = [weights, weights.astype(np.float32), weights > 0.1][seed % 3]
    ours, numpys = ([generator(seed, image) for image in range(5)] for _ in range(2))
    for points, weight, rng in zip(sample_points(weights, 60, ours), weights, numpys, strict=True):
        assert list(map(tuple, points.tolist())) == sample_with_numpy(weight, 60, rng)
    assert [rng.random() for rng in ours] == [rng.random() for rng in numpys]


def test_weights_are_not_changed():
    weights = np.ones((1, 4, 4))
    sample_points(weights, 5, [generator(1)])
    assert (weights == 1).all()


def test_a_batch_scales_points_and_pads_with_sams_padding_label():
    coordinates, labels = collate_points(
        [np.array([[3, 5, POSITIVE]], np.float32), np.zeros((0, 3), np.float32)],
        SamFrame(512, 1024),
        3,
    )
    assert coordinates[0].tolist() == [[6, 10], [0, 0], [0, 0]]
    assert labels.tolist() == [[POSITIVE, PADDING, PADDING], [PADDING] * 3]


def test_a_prompt_longer_than_the_usual_count_widens_the_batch():
    prompt = np.array([[0, 0, BOX_START], [9, 9, BOX_END], [4, 4, NEGATIVE]], np.float32)
    coordinates, labels = collate_points([prompt], SamFrame(10, 20), 1)
    assert coordinates.tolist() == [[[0, 0], [18, 18], [8, 8]]]
    assert labels.tolist() == [[BOX_START, BOX_END, NEGATIVE]]


def test_labelled_points_carry_their_label():
    assert label_points(np.array([[1, 2], [3, 4]], np.float32), NEGATIVE).tolist() == [
        [1, 2, 0],
        [3, 4, 0],
    ]


def test_a_batch_of_empty_prompts_is_all_padding():
    coordinates, labels = collate_points([np.zeros((0, 3), np.float32)] * 2, SamFrame(10, 20), 3)
    assert coordinates.shape == (2, 3, 2)
    assert labels.tolist() == [[PADDING] * 3] * 2
