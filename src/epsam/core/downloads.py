"""Files that are fetched once: checked, and put in place only when they are whole."""

import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from epsam.core.errors import WeightsError
from epsam.core.files import sha256_of, whole_file

TIMEOUT_S = 60
LOOK_S = 5


def download(url: str, sha256: str, target: Path, hint: str = "") -> None:
    """Fetch `url`; what is broken off or wrong is not kept. `sha256` may be the beginning of the
    hash only.

    Raises WeightsError with the address, where to put the file by hand, and `hint`, a way to
    do without it.
    """
    with whole_file(target) as temporary:
        try:
            _fetch(url, temporary)
        except (urllib.error.URLError, OSError, EOFError) as error:
            raise WeightsError(
                f"{target}: missing, and {url} cannot be fetched ({_reason(error)}); "
                f"download that address elsewhere and put the file at {target}{hint}"
            ) from error
        found = sha256_of(temporary)
        if not found.startswith(sha256):
            raise WeightsError(
                f"{url}: SHA-256 is {found}, expected {sha256}; the file was not kept, "
                f"try again or put a good one at {target}{hint}"
            )


def unreachable(url: str) -> str:
    """Why `url` cannot be had now, found out without fetching it; empty if it can."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=LOOK_S):
            return ""
    except OSError as error:
        return _reason(error)


def _fetch(url: str, target: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, target.open("wb") as stream:
        size = int(answer.headers.get("Content-Length") or 0)
        with tqdm(
            total=size or None, unit="B", unit_scale=True, desc=os.path.basename(url), disable=None
        ) as bar:
            while block := answer.read(1 << 20):
                bar.update(stream.write(block))
        if stream.tell() < size:
            raise EOFError(f"{stream.tell()} of {size} bytes")


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
