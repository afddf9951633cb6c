"""Who gets an answer: pages of this machine that know the token. Everybody else gets 403.

The page is open to all programs of the machine, and the browser to all pages of the world: the
token keeps out the former, the checks of Host and Origin the latter.
"""

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

TOKEN_HEADER = "X-EPSAM-Token"
"""Writing needs the token here, too: no form or image of a foreign page can set a header."""
CHECKED_HEADERS = ("Host", "Origin", TOKEN_HEADER)
LOCAL_NAMES = ("127.0.0.1", "localhost")
READING = ("GET", "HEAD")


def make_token() -> str:
    """A new random token, 128 bits as text for an address."""
    return secrets.token_urlsafe(16)


def split_token(path: str) -> tuple[str, str]:
    """The token and the rest of a path such as `/<token>/tile/0`."""
    token, _, rest = path.lstrip("/").partition("/")
    return token, rest


def why_refused(method: str, path: str, headers: Mapping[str, str], token: str) -> str:
    """Why a request gets no answer, in a few words for a person; "" if it gets one.

    headers: those of `CHECKED_HEADERS` that the request has.
    """
    # A foreign name that resolves to this machine (DNS rebinding) makes a foreign page local.
    if not _is_local(f"//{headers.get('Host', '')}"):
        return "this page is at 127.0.0.1"
    origin = headers.get("Origin")
    if origin is not None and not _is_same_place(origin, headers.get("Host", "")):
        return "asked for by a foreign page"
    if not _is_token(split_token(path)[0], token):
        return "the address lacks the token that view.sh printed"
    if method not in READING and not _is_token(headers.get(TOKEN_HEADER, ""), token):
        return f"writing needs the token in {TOKEN_HEADER}"
    return ""


def _is_token(text: str, token: str) -> bool:
    # In constant time; bytes, as texts have to be ASCII there.
    return hmac.compare_digest(text.encode(), token.encode())


def _is_local(address: str) -> bool:
    # Any port: `ssh -L` may lead here from another one.
    try:
        return urlsplit(address).hostname in LOCAL_NAMES
    except ValueError:
        return False


def _is_same_place(origin: str, host: str) -> bool:
    return _is_local(origin) and origin == f"http://{host}"
