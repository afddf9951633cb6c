"""Downloads that are checked, and moved into place only when they are complete."""

import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from epsam.core.errors import WeightsError
from epsam.core.files import sha256_of, whole_file

TIMEOUT_S = 60
HEAD_TIMEOUT_S = 5


def download(url: str, sha256: str, target: Path, hint: str = "") -> None:
    """Fetch `url` to `target`; an incomplete or wrong file is removed.

    sha256: the expected hash, or its beginning. hint: a way to do without the file, for the error
    message. Raises WeightsError with the address and the path for a file that is fetched by hand.
    """
    with whole_file(target) as temporary:
        try:
            _fetch(url, temporary)
        except (urllib.error.URLError, OSError, EOFError) as error:
            raise WeightsError(
                f"{target}: missing, and {url} cannot be fetched ({_reason(error)}); "
                f"download that address elsewhere and put the file at {target}{hint}"
            ) from error
        digest = sha256_of(temporary)
        if not digest.startswith(sha256):
            raise WeightsError(
                f"{url}: SHA-256 is {digest}, expected {sha256}; the file was not kept, "
                f"try again or put a good one at {target}{hint}"
            )


def unreachable(url: str) -> str:
    """Why `url` cannot be reached now, from a HEAD request; empty if it can."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HEAD_TIMEOUT_S):
            return ""
    except OSError as error:
        return _reason(error)


def _fetch(url: str, target: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, target.open("wb") as stream:
        size = int(answer.headers.get("Content-Length") or 0)
        name = os.path.basename(url)
        with tqdm(total=size or None, unit="B", unit_scale=True, desc=name, disable=None) as bar:
            while block := answer.read(1 << 20):
                bar.update(stream.write(block))
        # A server that closes the connection early ends the loop without an error.
        if stream.tell() < size:
            raise EOFError(f"{stream.tell()} of {size} bytes")


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
