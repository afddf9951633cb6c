"""Patches in batches for the classifier, read by worker processes."""

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
    """images (B, 3, side, side) uint8 RGB, labels (B,) float32 of 0 and 1, and the patches'
    names.
    """

    images: Tensor
    labels: Tensor
    names: list[str]

    def pin_memory(self) -> "PatchBatch":
        """The batch in page-locked memory; the loader calls this, and would leave the batch as it
        is without it.
        """
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


_Item = tuple[Tensor, int, str]


class _Patches(Dataset[_Item | EpsamError]):
    """Holds paths only; a worker opens a file when it is asked for it.

    An error is handed over as an item: raised in a worker, it would come back with the worker's
    traceback in its text.
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
    """Batches of the patches, each size × size px, in the given order (default: as listed); the
    last may be smaller.

    Raises ImageError or DatasetError for a patch that cannot be read or has another size.
    """
    chosen = list(range(len(patches))) if order is None else list(order)
    groups = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
    loader = DataLoader(
        _Patches(patches, size),
        batch_sampler=groups,
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
    good: list[_Item] = []
    for item in items:
        if isinstance(item, EpsamError):
            return item
        good.append(item)
    images, labels, names = zip(*good, strict=True)
    return PatchBatch(torch.stack(images), torch.tensor(labels, dtype=torch.float32), list(names))
