"""Patches in batches for the classifier, read by worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from epsam.data.patches import Patch, read_square
from epsam.interruption import ignore_stop_signals


@dataclass(frozen=True)
class PatchBatch:
    """images (B, 3, side, side) uint8 RGB, labels (B,) float32 of 0 and 1, and the patches' names."""

    images: Tensor
    labels: Tensor
    names: list[str]


class _Patches(Dataset[tuple[Tensor, int, str]]):
    """Holds paths only; a worker opens a file when it is asked for it."""

    def __init__(self, patches: Sequence[Patch], size: int) -> None:
        self._patches = patches
        self._size = size

    def __getitem__(self, index: int) -> tuple[Tensor, int, str]:
        patch = self._patches[index]
        image = torch.from_numpy(read_square(patch, self._size)).permute(2, 0, 1)
        return image, patch.label or 0, patch.name


def load_batches(patches: Sequence[Patch], size: int, batch_size: int, workers: int,
                 order: Sequence[int] | None = None) -> Iterator[PatchBatch]:
    """Batches of the patches, each size × size px, in the given order (default: as listed); the last may be smaller."""
    chosen = list(range(len(patches))) if order is None else list(order)
    groups = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
    loader = DataLoader(_Patches(patches, size), batch_sampler=groups, num_workers=workers, collate_fn=_collate,
                        worker_init_fn=ignore_stop_signals, pin_memory=torch.cuda.is_available())
    yield from loader


def _collate(items: list[tuple[Tensor, int, str]]) -> PatchBatch:
    images, labels, names = zip(*items, strict=True)
    return PatchBatch(torch.stack(images), torch.tensor(labels, dtype=torch.float32), list(names))
