"""A cache of what a frozen encoder makes of images, such as SAM's embeddings: float16 files,
memory-mapped, shared by runs, rounds and ablations.

A file is named after the content of its image and lies in a folder named after the encoder's
weights and frame, so one embedding cannot be taken for another. A backbone may have several
features, each in a file of its own: the first in <digest>.npy, others in <digest>.<name>.npy.
Two processes that encode the same image write the same bytes. Each file ends in a checksum; a
damaged file is encoded again.
"""

import hashlib
import io
import logging
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epsam.core.files import write_bytes
from epsam.data.d4 import apply_d4
from epsam.data.images import Rgb
from epsam.data.patches import Patch, read_square

Embedding = dict[str, npt.NDArray[np.float16]]
"""The features of one image by name, each (channels, height, width); SAM has one."""
Encoder = Callable[[Sequence[Rgb]], list[Embedding]]

log = logging.getLogger(__name__)

CHECKSUM_BYTES = 4
HEADER_BYTES = 128
"""Length of the header that numpy writes before the numbers."""
SPARE_BYTES = 2_000_000_000
"""This project: disk space that the cache leaves free, for the run itself and for others."""


class EmbeddingStore:
    """Embeddings by the content of their image: loaded from disk where stored, else computed.

    Both ways give the same numbers.
    """

    def __init__(self, folder: Path | None, encode: Encoder, features: Sequence[str]) -> None:
        """folder: None stores nothing, and every request encodes. features: their names, in the
        order of the backbone.
        """
        self._folder = folder
        self._encode = encode
        self._features = tuple(features)
        # A checksum is verified once in a process: reading whole files again would cost more than
        # the memory map saves.
        self._verified: set[str] = set()

    @property
    def is_persistent(self) -> bool:
        """Whether embeddings are stored on disk."""
        return self._folder is not None

    def get(self, image: Rgb) -> Embedding:
        """The embedding of an RGB patch."""
        if self.is_persistent:
            stored = self.load(digest_of_image(image))
            if stored is not None:
                return stored
        return self.add([image])[0]

    def add(self, images: Sequence[Rgb]) -> list[Embedding]:
        """Encode images in one batch, store the embeddings and return them."""
        embeddings = self._encode(images)
        if self._folder is not None:
            for image, embedding in zip(images, embeddings, strict=True):
                digest = digest_of_image(image)
                for name in self._features:
                    # Not durable: after a power cut the checksum fails, and the image is encoded
                    # again.
                    path = self._feature_file(self._folder, digest, name)
                    write_bytes(path, _serialise(embedding[name]), durable=False)
        return embeddings

    def load(self, digest: str) -> Embedding | None:
        """The stored embedding of the image with this `digest_of_image`.

        None if there is none or a file of it is damaged.
        """
        if self._folder is None:
            return None
        embedding: Embedding = {}
        for name in self._features:
            path = self._feature_file(self._folder, digest, name)
            if not path.is_file():
                return None
            if path.name not in self._verified and not _has_valid_checksum(path):
                log.warning("%s is damaged; it is encoded again", path)
                return None
            self._verified.add(path.name)
            embedding[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        return embedding

    def _feature_file(self, folder: Path, digest: str, name: str) -> Path:
        # The first has the name of versions that knew no other feature: their caches stay valid.
        suffix = "" if name == self._features[0] else f".{name}"
        # Subfolders by the first two digits: some file systems are slow with 10,000 files in one.
        return folder / digest[:2] / f"{digest}{suffix}.npy"


class PatchEmbeddings:
    """Embeddings of patches under the transforms of D4.

    The digest of each transformed patch is remembered, so that its image is read again only where
    its embedding is not stored.
    """

    def __init__(self, store: EmbeddingStore, size: int) -> None:
        """size: side in px that every patch must have."""
        self._store = store
        self._size = size
        self._digests: dict[tuple[Path, int], str] = {}

    def __call__(self, patch: Patch, transform: int = 0) -> Embedding:
        """The embedding of a patch under a transform of D4."""
        digest = self._digests.get((patch.image, transform))
        embedding = self._store.load(digest) if digest else None
        if embedding is None:
            embedding = self._store.get(self._read_transformed(patch, transform))
        return embedding

    @property
    def is_cached(self) -> bool:
        """Whether embeddings are stored on disk."""
        return self._store.is_persistent

    def prepare(self, patches: Iterable[Patch], n_transforms: int, batch_size: int) -> int:
        """Encode and store what is not stored yet of the patches' first `n_transforms` transforms.

        Returns how many images were encoded; 0 without a folder to store them in.
        """
        if not self._store.is_persistent:
            return 0
        waiting: list[Rgb] = []
        n_encoded = 0
        for patch in patches:
            for transform in range(n_transforms):
                image = self._read_transformed(patch, transform)
                if self._store.load(self._digests[patch.image, transform]) is None:
                    waiting.append(image)

            while len(waiting) >= batch_size:
                n_encoded += len(self._store.add(waiting[:batch_size]))
                del waiting[:batch_size]
        if waiting:
            n_encoded += len(self._store.add(waiting))
        return n_encoded

    def _read_transformed(self, patch: Patch, transform: int) -> Rgb:
        image = apply_d4(read_square(patch, self._size), transform)
        self._digests[patch.image, transform] = digest_of_image(image)
        return image


def digest_of_image(image: Rgb) -> str:
    """A digest of an image's pixels and shape, and of nothing else."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16)
    digest.update(repr(image.shape).encode("ascii"))
    return digest.hexdigest()


def check_disk_space(folder: Path, n_images: int, bytes_per_image: int) -> bool:
    """Log how much disk the cache will take; return whether that much is free."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = n_images * (bytes_per_image + HEADER_BYTES + CHECKSUM_BYTES)
    free = shutil.disk_usage(folder).free
    log.info(
        "embeddings: %d images, %.2f GB at most; %.1f GB free", n_images, needed / 1e9, free / 1e9
    )
    if needed < free - SPARE_BYTES:
        return True
    log.warning(
        "too little disk for the embeddings: they are encoded anew at every use, which is slow; "
        "free some space or lower --embedding_transforms"
    )
    return False


def _serialise(feature: npt.NDArray[np.float16]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(feature), allow_pickle=False)
    content = stream.getvalue()
    return content + zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big")


def _has_valid_checksum(path: Path) -> bool:
    content = path.read_bytes()
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    return len(body) > 0 and zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "big") == checksum
