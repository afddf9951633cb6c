"""A batch in leaves, whose sums do not depend on how many processes share them.

A sum of floating-point numbers depends on the order of its additions. So a batch is cut by position
into leaves, what is summed over patches is summed in each leaf alone, and the leaves' sums are
added by one fixed binary tree. A process computes a block of neighbouring leaves and adds what the
tree lets it add; the rest is gathered, and every process ends with the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from epsam.core.distributed import World, gather_tensors

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")
Node = tuple[int, int]
"""(level above the leaves, number from the left) of a node of the tree."""

DEFAULT_LEAVES = 8
"""This project: the leaves of a batch for several processes, where it has so many patches."""


@dataclass(frozen=True)
class BatchCut:
    """A batch of `n_patches`, which all processes share, in at most `max_leaves` leaves."""

    n_patches: int
    max_leaves: int
    world: World

    @property
    def n_leaves(self) -> int:
        """A leaf has a patch at least."""
        return min(self.max_leaves, self.n_patches)

    def positions(self, leaf: int) -> range:
        """The positions in the batch of a leaf's patches."""
        start = leaf * self.n_patches // self.n_leaves
        return range(start, (leaf + 1) * self.n_patches // self.n_leaves)

    def leaves_of(self, rank: int) -> range:
        """The leaves that count in a process; none in some, if there are more processes."""
        start = rank * self.n_leaves // self.world.size
        return range(start, (rank + 1) * self.n_leaves // self.world.size)

    @property
    def computed_leaves(self) -> range:
        """The leaves that this process computes: those that count, else the first.

        Batch norm needs all processes at the same layers. So one without a leaf goes along with the
        first, and its sums are left out.
        """
        return self.leaves_of(self.world.rank) or range(1)

    @property
    def counted_leaves(self) -> range:
        """Of them, those that count in this process."""
        return self.leaves_of(self.world.rank)


def cut_batches(
    order: Sequence[int], batch_size: int, max_leaves: int, world: World
) -> list[tuple[BatchCut, list[list[int]]]]:
    """Each batch of an epoch with the patches of the leaves that this process computes.

    order: indices of the patches, batch after batch.
    """
    batches = []
    for start in range(0, len(order), batch_size):
        patches = order[start : start + batch_size]
        cut = BatchCut(len(patches), max_leaves, world)
        leaves = []
        for leaf in cut.computed_leaves:
            leaves.append([patches[position] for position in cut.positions(leaf)])
        batches.append((cut, leaves))
    return batches


def sum_over_leaves(values: Sequence["Tensor"], cut: BatchCut) -> "Tensor":
    """The sum over all leaves of the batch, with the same bits in every process.

    values: of this process's `computed_leaves`, all of one shape.
    """
    by_leaf = dict(zip(cut.computed_leaves, values, strict=True))
    nodes = add_siblings(
        {(0, leaf): by_leaf[leaf] for leaf in cut.counted_leaves}, cut.n_leaves, _add
    )
    if cut.world.size > 1:
        nodes = add_siblings(_gather_nodes(nodes, values[0], cut), cut.n_leaves, _add)
    (total,) = nodes.values()
    return total


def add_siblings(
    nodes: dict[Node, Value], n_leaves: int, add: Callable[[Value, Value], Value]
) -> dict[Node, Value]:
    """Replace siblings by their parent as long as there are some; a node whose sibling the tree
    does not have moves up.
    """
    remaining: dict[Node, Value] = {}
    current = dict(nodes)
    level, width = 0, n_leaves
    while width > 1:
        above: dict[Node, Value] = {}
        for number in sorted(number for at, number in current if at == level):
            node, sibling = (level, number), (level, number ^ 1)
            parent = (level + 1, number // 2)
            if number ^ 1 >= width:
                above[parent] = current[node]
            elif sibling not in current:
                remaining[node] = current[node]
            elif number % 2 == 0:
                above[parent] = add(current[node], current[sibling])
        higher = {node: value for node, value in current.items() if node[0] > level}
        current = higher | above
        level, width = level + 1, -(-width // 2)
    return remaining | current


def _gather_nodes(
    nodes: dict[Node, "Tensor"], like: "Tensor", cut: BatchCut
) -> dict[Node, "Tensor"]:
    """The nodes that the processes could not add further, of all processes."""
    nodes_by_rank = []
    for rank in range(cut.world.size):
        leaves: dict[Node, None] = {(0, leaf): None for leaf in cut.leaves_of(rank)}
        nodes_by_rank.append(sorted(add_siblings(leaves, cut.n_leaves, _ignore)))
    # All processes send as many rows, so that none has to say how many.
    rows = like.new_zeros(max(len(names) for names in nodes_by_rank), *like.shape)
    for row, name in zip(rows, nodes_by_rank[cut.world.rank], strict=False):
        row.copy_(nodes[name])

    gathered: dict[Node, Tensor] = {}
    for names, part in zip(nodes_by_rank, gather_tensors(rows), strict=True):
        gathered |= dict(zip(names, part, strict=False))
    return gathered


def _add(left: "Tensor", right: "Tensor") -> "Tensor":
    return left + right


def _ignore(left: None, right: None) -> None:
    """Add nothing: only which nodes remain matters."""
