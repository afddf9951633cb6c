"""The class activation maps of a split in parts, which several machines compute (--shard).

A part is a few batches of the split. Its file holds all that decides the maps (`Key`), so that the
stage without --shard reads the parts that are there and computes the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from epsam.core.artifact import Key
from epsam.core.distributed import gather_objects, is_main_process, wait_for_all
from epsam.core.errors import DatasetError
from epsam.core.shards import Shard
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.patches import Patch
from epsam.training.cams import load_current_cams, split_batches

BATCHES_PER_PART = 16
"""This project: with 16 patches a batch, 4,000 files for a million patches."""

Batches = Sequence[Sequence[int]]
"""Indices of patches, in batches."""


@dataclass(frozen=True)
class CamParts:
    """The maps of `patches` by one key, in the folder `root`, whose parts have files of their own.

    Processes that share the stage go by what the main one sees there: a part may appear meanwhile.
    """

    root: Path
    key: Key
    patches: Sequence[Patch]
    batch_size: int

    def list_parts(self) -> list[Batches]:
        """The batches of each part."""
        batches = split_batches(self.patches, self.batch_size)
        starts = range(0, len(batches), BATCHES_PER_PART)
        return [batches[start : start + BATCHES_PER_PART] for start in starts]

    def list_held(self, shard: Shard) -> list[int]:
        """The numbers of the parts that belong to the shard."""
        numbers = range(len(self.list_parts()))
        return [number for number in numbers if shard.holds(f"{self.key.digest} {number}")]

    def is_stored(self, number: int) -> bool:
        """Whether the part is stored, and undamaged."""
        return gather_objects(self._load(number) is not None)[0]

    def load(self, number: int) -> CamStore:
        """The maps of a stored part. Raises DatasetError if it is gone or damaged."""
        cams = self._load(number)
        if cams is None:
            raise DatasetError(f"{self._path(number)}: cannot be read; run the stage again")
        return cams

    def store(self, number: int, cams: CamStore) -> CamStore:
        """Store the maps of a part, and return them."""
        complete = CamStore(cams.classifier_sha256, cams.maps, cams.probabilities, self.key.digest)
        if is_main_process():
            save_cams(self._path(number), complete)
        wait_for_all()
        return complete

    def join(self, compute: Callable[[Batches], CamStore]) -> CamStore:
        """The maps of all patches: those of stored parts, and computed ones of all other batches.

        compute: the maps of patches, by their batches.
        """
        parts = self.list_parts()
        stored: list[int] = []
        if self._folder.is_dir():
            stored = [number for number in range(len(parts)) if self._load(number) is not None]
        stored = gather_objects(stored)[0]
        if not stored:
            return compute(split_batches(self.patches, self.batch_size))

        missing: list[Sequence[int]] = []
        for number, batches in enumerate(parts):
            if number not in stored:
                missing += batches
        joined = CamStore(self.key.inputs["classifier"], {}, {})
        stores = [self.load(number) for number in stored]
        if missing:
            stores.append(compute(missing))
        for cams in stores:
            joined.maps.update(cams.maps)
            joined.probabilities.update(cams.probabilities)
        return joined

    def _load(self, number: int) -> CamStore | None:
        return load_current_cams(self._path(number), self.key)

    @property
    def _folder(self) -> Path:
        # Which patches share a batch changes the rounding of their maps.
        return self.root / f"{self.key.digest[:16]}-{self.batch_size}"

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"
