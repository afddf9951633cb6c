"""The files of class activation maps in a run: used again where they are current, else written."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from epsam.cam.protocol import EncodingRefiner, FittedRefiner, MapRefiner, StagedRefiner
from epsam.cam.refiner import build_refiner
from epsam.config.masks import MaskRule
from epsam.core.artifact import Key
from epsam.core.device import DeviceConfig
from epsam.core.distributed import is_main_process, wait_for_all
from epsam.core.files import digest_of_files
from epsam.core.progress import track
from epsam.core.shards import Shard
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.embeddings import check_disk_space
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.sam.specs import SPECS, count_feature_bytes
from epsam.training.cam_parts import Batches, CamParts
from epsam.training.cams import (
    cam_key,
    compute_cams,
    improve_cams,
    load_current_cams,
    load_with_cams,
)
from epsam.training.sam_setup import name_embedding_folder

MAX_FITTED = 2000
"""This project: training patches that a refiner is fitted to, at most."""


@dataclass(frozen=True)
class CamFiles:
    """Makes the CAMs of a run.

    load_model: loads the `WeakModel`, if any maps have to be computed. checksum: SHA-256 of its
    file. method: the CAM method of the rule, or of the classifier if the rule leaves it open.
    size: side of all patches in px. embeddings: the dataset's folder of cached embeddings, for a
    refiner that encodes by SAM; None: it caches nothing.
    """

    run: RunPaths
    load_model: Callable[[], Any]
    checksum: str
    method: str
    rule: MaskRule
    size: int
    batch_size: int
    device_config: DeviceConfig
    embeddings: Path | None = None

    def update(self, split: str, patches: Sequence[Patch]) -> CamStore:
        """The CAMs of a split, or of what stands for one."""
        digest = digest_of_files(patch.image for patch in patches)
        key = cam_key(self.method, self.rule, self.checksum, digest)
        cams = load_current_cams(self.run.cams(split), key)
        if cams is not None:
            return cams

        parts = self._parts(key, patches)
        refiner = self._build_refiner(patches)
        if not isinstance(refiner, StagedRefiner):
            cams = parts.join(partial(self._compute, self.rule, patches))
            return self._write(self.run.cams(split), key, cams)
        # With another SAM, or another walk, the classifier has nothing to do.
        base_key = cam_key(self.method, refiner.base_rule, self.checksum, digest)
        base = self._update_base(split, patches, refiner.base_rule, base_key)
        improved = parts.join(partial(self._improve, base, refiner, patches))
        return self._write(self.run.cams(split), key, improved)

    def fit_refiner(self, patches: Sequence[Patch]) -> dict[str, Any]:
        """The fields of the rule that its refiner fits to the CAMs of the training split; none if
        it fits nothing, or the rule has them already.
        """
        refiner = build_refiner(self.rule)
        if not isinstance(refiner, FittedRefiner) or refiner.is_fitted:
            return {}
        digest = digest_of_files(patch.image for patch in patches)
        base_key = cam_key(self.method, refiner.base_rule, self.checksum, digest)
        base = self._update_base("train", patches, refiner.base_rule, base_key)

        # Fitted by every process alone: a few patches are as good as all, and cost seconds.
        picked = patches[:: math.ceil(len(patches) / MAX_FITTED) or 1]
        batches = load_with_cams(base, picked, self.size, self.batch_size, self.device_config)
        return dict(refiner.fit(batches))

    def compute_shard(self, patches: Sequence[Patch], shard: Shard) -> tuple[int, int]:
        """Store the CAMs of those parts of a split that belong to the shard; returns how many
        parts were computed, and how many were there before.
        """
        digest = digest_of_files(patch.image for patch in patches)
        rule, refiner = self.rule, self._build_refiner(patches)
        if isinstance(refiner, FittedRefiner) and not refiner.is_fitted:
            # Nothing is fitted before the maps of all training patches are there.
            rule, refiner = refiner.base_rule, build_refiner(refiner.base_rule)
        parts = self._parts(cam_key(self.method, rule, self.checksum, digest), patches)
        held = parts.list_held(shard)
        pending = [number for number in held if not parts.is_stored(number)]
        for number in track(pending, "parts of class activation maps", len(pending)):
            batches = parts.list_parts()[number]
            if not isinstance(refiner, StagedRefiner):
                parts.store(number, self._compute(rule, patches, batches))
                continue
            base_key = cam_key(self.method, refiner.base_rule, self.checksum, digest)
            base_parts = self._parts(base_key, patches)
            if base_parts.is_stored(number):
                base = base_parts.load(number)
            else:
                base = base_parts.store(number, self._compute(refiner.base_rule, patches, batches))
            parts.store(number, self._improve(base, refiner, patches, batches))
        return len(pending), len(held) - len(pending)

    def _build_refiner(self, patches: Sequence[Patch]) -> MapRefiner:
        """The rule's refiner; one that encodes the patches by SAM shares the embeddings of the
        decoder's stages, unless the disk has no room for them.
        """
        refiner, rule = build_refiner(self.rule), self.rule
        if self.embeddings is None or not isinstance(refiner, EncodingRefiner):
            return refiner
        # Embeddings of one encoder must never be taken for those of another.
        if not rule.refiner_sam_sha256:
            return refiner
        name = name_embedding_folder(rule.map_sam, rule.refiner_sam_sha256, self.device_config)
        bytes_per_embedding = count_feature_bytes(SPECS[rule.map_sam].feature_shapes())
        folder = self.embeddings / name
        has_room = check_disk_space(folder, len(patches), bytes_per_embedding)
        return refiner.with_cache(folder) if has_room else refiner

    def _parts(self, key: Key, patches: Sequence[Patch]) -> CamParts:
        return CamParts(self.run.cam_shards, key, patches, self.batch_size)

    def _update_base(
        self, split: str, patches: Sequence[Patch], rule: MaskRule, key: Key
    ) -> CamStore:
        """The maps that a refiner starts from; perhaps the run was made with them before."""
        for path in (self.run.base_cams(split), self.run.cams(split)):
            cams = load_current_cams(path, key)
            if cams is not None:
                break
        else:
            cams = self._parts(key, patches).join(partial(self._compute, rule, patches))
        return self._write(self.run.base_cams(split), key, cams)

    def _compute(self, rule: MaskRule, patches: Sequence[Patch], batches: Batches) -> CamStore:
        return compute_cams(
            self.load_model(),
            self.checksum,
            patches,
            self.size,
            rule,
            self.batch_size,
            self.device_config,
            batches,
        )

    def _improve(
        self,
        base: CamStore,
        refiner: StagedRefiner,
        patches: Sequence[Patch],
        batches: Batches,
    ) -> CamStore:
        return improve_cams(
            base, refiner, patches, self.size, self.batch_size, self.device_config, batches
        )

    def _write(self, path: Path, key: Key, cams: CamStore) -> CamStore:
        # New maps do not know their recipe yet.
        complete = dataclasses.replace(cams, recipe=key.digest)
        # Before anything is written, all processes have looked for what is there.
        wait_for_all()
        if is_main_process():
            save_cams(path, complete)
        return complete
