"""Files are fetched whole, checked, and resumed where they were broken off."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from epsam.core.errors import DatasetError
from epsam.fetch import transfer
from epsam.fetch.transfer import RemoteFile, check_md5, fetch_file, fetch_files, is_complete

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A server of CONTENT under any name; `requests` holds the ranges that were asked for."""

    class Handler(BaseHTTPRequestHandler):
        knows_ranges, cut_after, requests = True, None, []

        def do_GET(self):
            byte_range = self.headers.get("Range", "")
            type(self).requests.append(byte_range)
            start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range else 0
            resumes = self.knows_ranges and start > 0
            content = CONTENT[start:] if resumes else CONTENT
            self.send_response(206 if resumes else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.cut_after is None else content[: self.cut_after])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        http.handler = Handler
        http.remote = RemoteFile(
            "images/a.tif", f"http://127.0.0.1:{http.server_port}/a.tif", len(CONTENT), MD5
        )
        yield http
        http.shutdown()
        thread.join()


def test_a_fetched_file_is_what_is_listed(server, tmp_path):
    fetch_file(server.remote, tmp_path)
    assert (tmp_path / "images" / "a.tif").read_bytes() == CONTENT
    assert is_complete(server.remote, tmp_path)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.tif"]


def test_a_broken_off_file_is_resumed_with_what_it_lacks(server, tmp_path):
    server.handler.cut_after = 1000
    with pytest.raises(DatasetError, match=r"broken off after 1 kB of 10.2 kB .*again to go on"):
        fetch_file(server.remote, tmp_path)
    assert not is_complete(server.remote, tmp_path)

    server.handler.cut_after = None
    fetch_file(server.remote, tmp_path)
    assert server.handler.requests[-1] == "bytes=1000-"
    assert (tmp_path / "images" / "a.tif").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ".a.tif.download").write_bytes(CONTENT[:77])
    server.handler.knows_ranges = False
    fetch_file(server.remote, tmp_path)
    assert (tmp_path / "images" / "a.tif").read_bytes() == CONTENT


def test_a_file_with_another_sum_is_not_kept(server, tmp_path):
    wrong = RemoteFile("a.tif", server.remote.url, len(CONTENT), "0" * 32)
    with pytest.raises(DatasetError, match=f"MD5 is {MD5}, expected 0000"):
        fetch_file(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_complete_files_are_not_fetched_again(server, tmp_path):
    fetch_files([server.remote], tmp_path)
    count = len(server.handler.requests)
    fetch_files([server.remote], tmp_path)
    assert len(server.handler.requests) == count


def test_too_small_a_disk_is_said_before_anything_is_fetched(server, tmp_path):
    huge = RemoteFile("b.tif", server.remote.url, 10**18)
    with pytest.raises(DatasetError, match=r"1e\+06 TB are still to be fetched"):
        fetch_files([server.remote, huge], tmp_path)
    assert server.handler.requests == []


def test_damaged_files_are_named_and_files_without_a_sum_pass(server, tmp_path):
    fetch_file(server.remote, tmp_path)
    (tmp_path / "images" / "a.tif").write_bytes(CONTENT[::-1])
    (tmp_path / "b").write_bytes(b"x")
    files = [server.remote, RemoteFile("b", "", 1)]
    assert check_md5(files, tmp_path) == ["images/a.tif"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 B"), (1000, "1 kB"), (2_500_000, "2.5 MB"), (1_400_000_000, "1.4 GB")],
)
def test_sizes_read_as_people_write_them(size, text):
    assert transfer.format_size(size) == text
