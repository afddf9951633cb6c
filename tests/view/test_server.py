"""The server as a browser or an attacker of this machine sees it."""

import http.client
import re
import socket
import threading
from urllib.parse import urlsplit

import pytest

from epsam.core.errors import EpsamError
from epsam.view.access import TOKEN_HEADER
from epsam.view.catalogue import read_catalogue
from epsam.view.image_site import ImageSite
from epsam.view.server import ViewServer
from support.viewed_results import write_results


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = write_results(tmp_path_factory.mktemp("viewed"))
    with ViewServer(ImageSite(read_catalogue(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path, method="GET", **headers):
    """Status, headers and content for a path as it is, without the clean-up that browsers do."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=300)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_the_page_names_only_files_that_are_answered(server):
    status, headers, page = ask(server, f"/{server.token}/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    names = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert "viewer.js" in names
    for name in names:
        if name != "data:,":
            assert ask(server, f"/{server.token}/{name}")[0] == 200
    assert b"http" not in page


def test_pages_may_load_nothing_from_elsewhere(server):
    headers = ask(server, f"/{server.token}/")[1]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/list.js", "/x/list.js", "//list.js", "/%00/", "*"])
def test_without_the_token_there_is_no_answer(server, path):
    status, _, content = ask(server, path)
    assert status == 403
    assert b"tumour" not in content


def test_foreign_hosts_and_origins_are_refused(server):
    path = f"/{server.token}/list.js"
    assert ask(server, path)[0] == 200
    assert ask(server, path, Host="evil.example")[0] == 403
    assert ask(server, path, Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "../results/record.json",
        "tiles/0/../../record.json",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc/passwd",
        "/etc/passwd",
        "vendor/../../pages.py",
        "tiles/0/image/10/0_0.svg",
        "tiles/99/image/10/0_0.jpg",
        "tiles/0/image/10/-1_0.jpg",
        "tiles/0/image/99/0_0.jpg",
        "tiles/٣/image/10/0_0.jpg",
        "images/99.js",
        "viewer.js/",
        "templates/viewer.html.j2",
        "a\x00b",
    ],
)
def test_no_path_leads_to_a_file_that_is_not_listed(server, path):
    quoted = path.replace("\x00", "%00").replace("٣", "%D9%A3")
    assert ask(server, f"/{server.token}/{quoted}")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(server, method):
    path = f"/{server.token}/list.js"
    assert ask(server, path, method)[0] == 403
    assert ask(server, path, method, **{TOKEN_HEADER: server.token})[0] == 405


def test_a_head_has_no_body(server):
    status, headers, content = ask(server, f"/{server.token}/viewer.css", "HEAD")
    assert (status, content) == (200, b"")
    assert int(headers["Content-Length"]) > 100


def test_a_tile_may_be_kept_by_the_browser_and_a_list_not(server):
    tile = ask(server, f"/{server.token}/tiles/0/image/10/0_0.jpg")[1]
    assert (tile["Content-Type"].split(";")[0], tile["Cache-Control"][:7]) == (
        "image/jpeg",
        "private",
    )
    assert ask(server, f"/{server.token}/list.js")[1]["Cache-Control"] == "no-store"


def test_an_image_that_cannot_be_read_is_an_error_of_one_line(server, monkeypatch, caplog):
    def fail(address):
        raise EpsamError("a.tif: damaged")

    monkeypatch.setattr(server.site.tiles, "read", fail)
    status, _, content = ask(server, f"/{server.token}/tiles/0/image/10/0_0.jpg")
    assert (status, content) == (500, b"a.tif: damaged")
    assert "a.tif: damaged" in caplog.text


def test_the_server_is_this_machines_alone_and_a_port_in_use_is_an_error(server):
    assert server.server_address[0] == "127.0.0.1"
    assert urlsplit(server.address).hostname == "127.0.0.1"
    with pytest.raises(EpsamError, match=r"not free .*--port"):
        ViewServer(server.site, server.server_port)


def test_an_answer_does_not_wait_for_the_one_before_to_be_confirmed(server, monkeypatch):
    delays = []
    answer = server.RequestHandlerClass._respond

    def note_delay(handler):
        delays.append(handler.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        answer(handler)

    monkeypatch.setattr(server.RequestHandlerClass, "_respond", note_delay)
    ask(server, f"/{server.token}/viewer.css")
    assert delays
    assert all(delays)
