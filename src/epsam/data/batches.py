"""The classifier's batches of patches, read by worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from epsam.core.errors import EpsamError
from epsam.core.signals import ignore_stop_signals
from epsam.data.patches import Patch, read_square


@dataclass(frozen=True)
class PatchBatch:
    """images (B, 3, side, side) uint8 RGB, labels (B,) float32 of 0 and 1, names of the patches."""

    images: Tensor
    labels: Tensor
    names: list[str]

    def pin_memory(self) -> "PatchBatch":
        """The batch in page-locked memory.

        DataLoader calls this method; it does not pin a class of ours that lacks it.
        """
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


_Item = tuple[Tensor, int, str]


class _PatchDataset(Dataset[_Item | EpsamError]):
    """Holds paths only; a worker opens a file when its item is requested.

    An error is returned as an item. If a worker raised it, PyTorch would put the worker's
    traceback into its message, and the user would not see one clear line.
    """

    def __init__(self, patches: Sequence[Patch], size: int) -> None:
        self._patches = patches
        self._size = size

    def __getitem__(self, index: int) -> _Item | EpsamError:
        patch = self._patches[index]
        try:
            image = torch.from_numpy(read_square(patch, self._size)).permute(2, 0, 1)
        except EpsamError as error:
            return error
        return image, patch.label or 0, patch.name


def load_batches(
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    workers: int,
    order: Sequence[int] | None = None,
) -> Iterator[PatchBatch]:
    """Batches of the patches, each size × size px; the last batch may be smaller.

    order: indices into `patches`; by default the patches come as they are listed.

    Raises ImageError or DatasetError for a patch that cannot be read or has another size.
    """
    indices = list(range(len(patches))) if order is None else list(order)
    starts = range(0, len(indices), batch_size)
    batches = [indices[start : start + batch_size] for start in starts]
    return load_listed_batches(patches, size, batches, workers)


def load_listed_batches(
    patches: Sequence[Patch], size: int, batches: Sequence[Sequence[int]], workers: int
) -> Iterator[PatchBatch]:
    """Yield a batch for each list of indices into `patches`; see `load_batches`."""
    loader = DataLoader(
        _PatchDataset(patches, size),
        batch_sampler=[list(indices) for indices in batches],
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=ignore_stop_signals,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, EpsamError):
            raise batch
        yield batch


def _collate(items: list[_Item | EpsamError]) -> PatchBatch | EpsamError:
    """The batch of these items, or the first error among them."""
    readable: list[_Item] = []
    for item in items:
        if isinstance(item, EpsamError):
            return item
        readable.append(item)

    images, labels, names = zip(*readable, strict=True)
    return PatchBatch(torch.stack(images), torch.tensor(labels, dtype=torch.float32), list(names))
