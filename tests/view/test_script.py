"""view.py as a process: it says where the page is, and Ctrl-C leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import pytest

from support.mini import REPOSITORY
from support.viewed_results import write_results


def list_files(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def start(*arguments):
    command = [sys.executable, str(REPOSITORY / "src" / "view.py"), *map(str, arguments)]
    # A test that runs in the background may have Ctrl-C ignored.
    environment = {**os.environ, "EPSAM_HEED_INTERRUPT": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_until_ctrl_c_which_leaves_nothing(tmp_path, number):
    folder = write_results(tmp_path)
    before = list_files(tmp_path)
    process = start(folder)
    address = None
    for line in process.stdout:
        if match := re.fullmatch(r"page: (http://127\.0\.0\.1:\d+/\S+/)\n", line):
            address = match[1]
        if line == "Ctrl-C ends it\n":
            break
    with urllib.request.urlopen(address + "list.js", timeout=300) as answer:
        assert b'"name": "b"' in answer.read()

    process.send_signal(number)
    rest, _ = process.communicate(timeout=300)
    assert (process.returncode, rest) == (0, "closed\n")
    assert list_files(tmp_path) == before
    with socket.socket() as free:
        # The ends of finished connections wait on.
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", urlsplit(address).port))


def test_a_folder_of_other_files_is_an_error_of_one_line(tmp_path):
    process = start(tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert output == f"error: {tmp_path}: no finished results of infer.sh; give its output folder\n"


def test_an_exported_page_needs_no_server(tmp_path):
    folder = write_results(tmp_path)
    process = start(folder, "--export", tmp_path / "page")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert output.endswith(f"page: {tmp_path}/page/index.html\n")
    assert (tmp_path / "page" / "index.html").is_file()
