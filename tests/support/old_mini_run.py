"""The finished run of version 0.1.0 that lies in the repository, unpacked for a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from support.archives import unpack
from support.mini import smaller_sam

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "run_0.1.0.tar.xz"


@contextmanager
def unpacked_run(folder: Path) -> Iterator[Path]:
    """The run in a folder, with the SAM that it was made with, and one thread."""
    unpack(ARCHIVE, folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with smaller_sam():
        yield folder
    torch.set_num_threads(threads)
