"""A small web server for one person: at 127.0.0.1, behind a token. It writes corrections alone.

No path of a request becomes a path of the file system: a `Site` looks names up in what it lists.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from epsam.core.errors import EpsamError
from epsam.corrections.store import OutdatedPageError
from epsam.view.access import CHECKED_HEADERS, READING, make_token, split_token, why_refused

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
IDLE_S = 60
"""An open connection without requests is closed after this time (this project)."""
MAX_BODY = 4 << 20
"""Bytes of a correction: 100,000 corners (this project)."""
SECURITY_HEADERS = {
    # Nothing from elsewhere, and no script but the files of this page.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HTML, SCRIPT, STYLE = "text/html", "text/javascript", "text/css"
JPEG, PNG, BINARY = "image/jpeg", "image/png", "application/octet-stream"
JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """The content of an address. is_fixed: whether the browser may keep it for this session."""

    content: bytes
    kind: str
    is_fixed: bool = False


class Site(Protocol):
    """What a page and its parts answer."""

    def answer(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """The answer to a path without the token, such as `tile/0/slide/8/0_0`; None if there is
        nothing at it.
        """

    def write(self, path: str, content: Mapping[str, Any]) -> Answer | None:
        """Write what a page sends to a path without the token; None if there is nothing to write.

        Raises EpsamError if the content cannot be taken.
        """


class ViewServer(ThreadingHTTPServer):
    """Serves a site until Ctrl-C. Its threads end with the process."""

    daemon_threads = True
    # An address that a server has just left is free at once.
    allow_reuse_address = True

    def __init__(self, site: Site, port: int = 0) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise EpsamError(
                f"port {port}: not free ({error.strerror}); give another by --port, or 0 for any"
            ) from error
        self.site = site
        self.token = make_token()

    @property
    def address(self) -> str:
        """The address of the page, with its token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    # Head and body are two writes: the second would wait for the browser to confirm the first.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._respond()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def _respond(self) -> None:
        headers = {name: self.headers[name] for name in CHECKED_HEADERS if name in self.headers}
        if reason := why_refused(self.command, self.path, headers, self.server.token):
            self._send(403, _text(reason))
            return
        if self.command == "POST":
            self._write()
            return
        if self.command not in READING:
            self._send(405, _text("there is nothing to write here"))
            return

        parts = urlsplit(self.path)
        path = unquote(split_token(parts.path)[1])
        try:
            answer = self.server.site.answer(path, dict(parse_qsl(parts.query)))
        except EpsamError as error:
            # Such as a slide that is damaged: the page says so, and the others can be looked at.
            log.warning("%s", error)
            self._send(500, _text(str(error)))
            return
        if answer is None:
            self._send(404, _text("nothing at this address"))
        else:
            self._send(200, answer)

    def _write(self) -> None:
        """Hand a page's content to the site."""
        path = unquote(split_token(urlsplit(self.path).path)[1])
        try:
            answer = self.server.site.write(path, self._read_body())
        except ValueError as error:
            self._send(400, _text(f"no content of a page: {error}"))
        except OutdatedPageError as error:
            self._send(409, _text(str(error)))
        except (EpsamError, OSError) as error:
            log.warning("%s", error)
            self._send(400, _text(str(error)))
        else:
            nothing = _text("there is nothing to write here")
            self._send(200 if answer else 405, answer or nothing)

    def _read_body(self) -> dict[str, Any]:
        """The object that a request sends as JSON. Raises ValueError if it is none, or too long."""
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 <= length <= MAX_BODY:
            raise ValueError(f"{length} bytes, at most {MAX_BODY} are taken")
        try:
            content = json.loads(self.rfile.read(length) or b"{}")
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(content, dict):
            raise ValueError("an object expected")
        return content

    def _send(self, status: int, answer: Answer) -> None:
        # The body of a request that is not read would be taken for the next request.
        if status != 200:
            self.close_connection = True
        try:
            self.send_response(status)
            self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(answer.content)))
            keep = "private, max-age=86400" if answer.is_fixed else "no-store"
            self.send_header("Cache-Control", keep)
            for name, value in SECURITY_HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)
        except ConnectionError:
            # The browser no longer needs a tile that has left the screen.
            self.close_connection = True

    def version_string(self) -> str:
        return "epsam"

    def log_message(self, format: str, *args: object) -> None:
        """No line for each tile."""


def _text(message: str) -> Answer:
    return Answer(message.encode("utf-8"), "text/plain")
