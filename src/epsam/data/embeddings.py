"""SAM's embeddings, encoded once and kept: fp16 on disk, memory-mapped, shared by runs, rounds and
ablations.

A file is named after the image's content and lies in a folder named after the encoder's weights and
frame, so nothing can be mistaken for something else, and two processes that meet write the same
bytes. Each file ends in a checksum: one that was damaged is encoded again.
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

Embedding = npt.NDArray[np.float16]
Encoder = Callable[[Sequence[Rgb]], list[Embedding]]

log = logging.getLogger(__name__)

CHECKSUM_BYTES = 4
SPARE_BYTES = 2_000_000_000
"""Ours: what the cache leaves free of the disk, for the run itself and for others."""


class EmbeddingStore:
    """Embeddings by the content of their image: read where they are kept, else made. The numbers
    are the same.
    """

    def __init__(self, folder: Path | None, encode: Encoder) -> None:
        """`folder` None: nothing is kept and every embedding is made when it is asked for."""
        self._folder = folder
        self._encode = encode
        self._checked: set[str] = set()

    @property
    def keeps(self) -> bool:
        return self._folder is not None

    def get(self, image: Rgb) -> Embedding:
        """The embedding (channels, height, width) float16 of an RGB patch."""
        kept = self.kept(content_key(image)) if self.keeps else None
        return self.add([image])[0] if kept is None else kept

    def add(self, images: Sequence[Rgb]) -> list[Embedding]:
        """Encode images in one pass, keep the results, and return them."""
        made = self._encode(images)
        if self.keeps:
            for image, embedding in zip(images, made, strict=True):
                write_bytes(self._path(content_key(image)), _packed(embedding), durable=False)
        return made

    def kept(self, key: str) -> Embedding | None:
        """The embedding kept under `content_key(image)`, or None if there is none or it is
        damaged.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        if key not in self._checked and not _is_whole(path):
            log.warning("%s is damaged; it is made again", path)
            return None
        self._checked.add(key)
        embedding: Embedding = np.load(path, mmap_mode="r", allow_pickle=False)
        return embedding

    def _path(self, key: str) -> Path:
        if self._folder is None:
            raise ValueError("this store keeps nothing")
        return self._folder / key[:2] / f"{key}.npy"


class PatchEmbeddings:
    """Embeddings of patches and their views; a patch's image is read again only where its embedding
    is not kept.
    """

    def __init__(self, store: EmbeddingStore, size: int) -> None:
        """`size`: side in px that every patch has to have."""
        self._store = store
        self._size = size
        self._keys: dict[tuple[Path, int], str] = {}

    def __call__(self, patch: Patch, view: int = 0) -> Embedding:
        """The embedding (channels, height, width) float16 of one view of a patch."""
        key = self._keys.get((patch.image, view))
        kept = self._store.kept(key) if key and self._store.keeps else None
        return self._store.get(self._image(patch, view)) if kept is None else kept

    def prepare(self, patches: Iterable[Patch], views: int, chunk: int) -> int:
        """Encode, `chunk` at a time, what is not kept yet, and return how many that were; nothing
        without a store.
        """
        if not self._store.keeps:
            return 0
        waiting: list[Rgb] = []
        made = 0
        for patch in patches:
            for view in range(views):
                image = self._image(patch, view)
                if self._store.kept(self._keys[patch.image, view]) is None:
                    waiting.append(image)
            while len(waiting) >= chunk:
                made += len(self._store.add(waiting[:chunk]))
                del waiting[:chunk]
        if waiting:
            made += len(self._store.add(waiting))
        return made

    def _image(self, patch: Patch, view: int) -> Rgb:
        image = apply_d4(read_square(patch, self._size), view)
        self._keys[patch.image, view] = content_key(image)
        return image


def content_key(image: Rgb) -> str:
    """A name that depends on an image's pixels and shape and on nothing else."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16)
    digest.update(repr(image.shape).encode("ascii"))
    return digest.hexdigest()


def check_disk_space(folder: Path, images: int, bytes_each: int) -> bool:
    """Log what the cache will take, and say whether the disk has that much to spare."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = images * (bytes_each + 128 + CHECKSUM_BYTES), shutil.disk_usage(folder).free
    log.info(
        "embeddings: %d images, %.2f GB at most; %.1f GB free", images, needed / 1e9, free / 1e9
    )
    if needed < free - SPARE_BYTES:
        return True
    log.warning(
        "too little disk for the embeddings: they are encoded anew at every use, which is slow; "
        "free some space or lower --embedding_views"
    )
    return False


def _packed(embedding: Embedding) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(embedding), allow_pickle=False)
    content = stream.getvalue()
    return content + zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big")


def _is_whole(path: Path) -> bool:
    content = path.read_bytes()
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    return len(body) > 0 and zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "big") == checksum
