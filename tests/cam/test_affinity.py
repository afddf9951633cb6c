"""The stencil against a double loop over all pairs of cells."""

import math

import pytest
import torch

from epsam.cam.affinity import lattice_offsets, random_walk, transition_probabilities

RADIUS, BETA = 3, 2.0


def example_features(rows=5, columns=7):
    return torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))


def transition_matrix(features, radius=RADIUS, beta=BETA):
    """From each cell to each: (rows · columns)²."""
    channels, rows, columns = features.shape
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    matrix = torch.zeros(len(cells), len(cells), dtype=torch.float64)
    for i, (row, column) in enumerate(cells):
        for j, (other_row, other_column) in enumerate(cells):
            if (row - other_row) ** 2 + (column - other_column) ** 2 < radius**2:
                distance = 0.0
                for channel in range(channels):
                    here = float(features[channel, row, column])
                    there = float(features[channel, other_row, other_column])
                    distance += abs(here - there) / channels
                matrix[i, j] = math.exp(-distance) ** beta
    return matrix / matrix.sum(dim=1, keepdim=True)


def test_a_radius_of_5_joins_a_cell_to_itself_and_68_neighbours():
    offsets = lattice_offsets(5)
    assert len(offsets) == len(set(offsets)) == 69
    assert (0, 0) in offsets
    assert (4, 2) in offsets
    assert (4, 3) not in offsets
    assert lattice_offsets(1) == [(0, 0)]


def test_transitions_are_those_of_a_double_loop_over_all_pairs_and_rows_sum_to_1():
    features = example_features()
    offsets = lattice_offsets(RADIUS)
    transitions = transition_probabilities(features, offsets, BETA)
    torch.testing.assert_close(transitions.sum(dim=1), torch.ones(2, 5, 7))
    for number, image in enumerate(features):
        matrix = transition_matrix(image).view(5, 7, 5, 7)
        for k, (down, right) in enumerate(offsets):
            for row in range(5):
                for column in range(7):
                    end = (row + down, column + right)
                    inside = 0 <= end[0] < 5 and 0 <= end[1] < 7
                    expected = float(matrix[row, column, end[0], end[1]]) if inside else 0.0
                    assert float(transitions[number, k, row, column]) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_walk_is_the_matrix_applied_as_often(steps):
    features = example_features()
    offsets = lattice_offsets(RADIUS)
    maps = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(1))
    transitions = transition_probabilities(features, offsets, BETA)
    walked = random_walk(maps, transitions, offsets, steps)
    for number, image in enumerate(features):
        matrix = torch.linalg.matrix_power(transition_matrix(image), steps)
        expected = (matrix @ maps[number].double().flatten()).view(5, 7)
        torch.testing.assert_close(walked[number].double(), expected, atol=1e-6, rtol=1e-5)


def test_a_map_that_is_constant_on_two_regions_far_apart_in_features_stays_so():
    features = torch.zeros(1, 1, 6, 6)
    features[..., 3:] = 1
    maps = torch.full((1, 6, 6), 0.2)
    maps[..., 3:] = 0.9
    offsets = lattice_offsets(5)
    # exp(−50) between the regions.
    walked = random_walk(maps, transition_probabilities(features, offsets, 50.0), offsets, 4)
    torch.testing.assert_close(walked, maps)
    # With no such border the walk mixes them.
    mixed = random_walk(maps, transition_probabilities(features, offsets, 0.0), offsets, 4)
    assert float(mixed.max() - mixed.min()) < 0.3


def test_a_lattice_smaller_than_the_radius_is_joined_within_itself():
    offsets = lattice_offsets(5)
    transitions = transition_probabilities(torch.zeros(1, 1, 2, 2), offsets, 4.0)
    maps = torch.tensor([[[0.0, 1.0], [2.0, 5.0]]])
    torch.testing.assert_close(
        random_walk(maps, transitions, offsets, 1), torch.full((1, 2, 2), 2.0)
    )
