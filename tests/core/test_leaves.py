"""A batch in leaves: who computes what, and the fixed order of additions."""

import pytest

from epsam.core.distributed import World
from epsam.core.leaves import BatchCut, add_siblings


def cut(n_patches, leaves, size=1, rank=0):
    return BatchCut(n_patches, leaves, World(rank, size, rank))


def test_leaves_are_neighbours_and_hold_every_patch_once():
    batch = cut(5, 4)
    assert [list(batch.positions(leaf)) for leaf in range(4)] == [[0], [1], [2], [3, 4]]


def test_a_batch_has_no_more_leaves_than_patches():
    assert (cut(3, 8).n_leaves, cut(16, 8).n_leaves) == (3, 8)


@pytest.mark.parametrize("size", range(1, 6))
@pytest.mark.parametrize("n_patches", range(1, 10))
def test_every_leaf_counts_in_one_process(n_patches, size):
    counted = []
    for rank in range(size):
        counted += cut(n_patches, 8, size, rank).counted_leaves
    assert counted == list(range(min(n_patches, 8)))


def test_a_process_without_a_leaf_goes_along_with_the_first():
    batch = cut(2, 8, size=4, rank=0)
    assert (list(batch.counted_leaves), list(batch.computed_leaves)) == ([], [0])


def add_text(left, right):
    return f"({left}+{right})"


def tree_of(n_leaves):
    """The sum of all leaves as text, added at once."""
    nodes = add_siblings({(0, i): str(i) for i in range(n_leaves)}, n_leaves, add_text)
    (text,) = nodes.values()
    return text


def test_neighbours_are_added_first_and_the_last_one_of_an_odd_row_moves_up():
    assert tree_of(1) == "0"
    assert tree_of(4) == "((0+1)+(2+3))"
    assert tree_of(7) == "(((0+1)+(2+3))+((4+5)+6))"


@pytest.mark.parametrize("size", range(1, 6))
@pytest.mark.parametrize("n_leaves", range(1, 10))
def test_additions_are_the_same_however_many_processes_share_them(n_leaves, size):
    nodes = {}
    for rank in range(size):
        leaves = cut(n_leaves, n_leaves, size, rank).counted_leaves
        nodes |= add_siblings({(0, leaf): str(leaf) for leaf in leaves}, n_leaves, add_text)
    assert list(add_siblings(nodes, n_leaves, add_text).values()) == [tree_of(n_leaves)]
