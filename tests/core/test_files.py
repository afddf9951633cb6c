import errno
import os
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.core.checkpoints import save_plain
from epsam.core.errors import DatasetError
from epsam.core.files import (
    append_text,
    quick_hash,
    read_table,
    sha256_of,
    whole_file,
    write_bytes,
    write_json,
    write_table,
    write_text,
)
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.images import write_mask


def test_a_file_whose_writing_fails_leaves_the_old_one_and_no_rest(tmp_path):
    target = tmp_path / "table.csv"
    write_text(target, "old")

    def fail():
        with whole_file(target) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.pth", lambda path: save_plain(path, {"model": {"a": torch.zeros(100_000)}})),
        (
            "a.csv",
            lambda path: write_table(path, ("id",), [{"id": number} for number in range(10_000)]),
        ),
        ("a.json", lambda path: write_json(path, list(range(10_000)))),
        (
            "a.npz",
            lambda path: save_cams(
                path, CamStore("x", {"p": np.zeros((90, 90), np.float32)}, {"p": 0.5})
            ),
        ),
        ("a.png", lambda path: write_mask(path, np.eye(50) > 0)),
    ],
)
def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path, monkeypatch, name, write):
    (tmp_path / name).write_text("old")
    stem, suffix = name.split(".")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "token")
    (tmp_path / f".{stem}.token.part.{suffix}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        write(tmp_path / name)
    assert (raised.value.errno, str(raised.value.filename)) == (errno.ENOSPC, str(tmp_path / name))
    assert (tmp_path / name).read_text() == "old"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("durable", "expected"), [(True, ["content on disk", "name"]), (False, ["name"])]
)
def test_a_durable_file_is_on_the_disk_before_it_has_its_name(
    tmp_path, monkeypatch, durable, expected
):
    steps, replace = [], Path.replace

    def note_flush(number):
        assert os.fstat(number).st_size == 3, "all of it was written"
        steps.append("content on disk")

    def note_name(path, target):
        steps.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_name)
    write_bytes(tmp_path / "a", b"abc", durable)
    assert steps == expected


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path):
    (tmp_path / "elsewhere").write_text("not ours")
    (tmp_path / "a.csv").symlink_to(tmp_path / "elsewhere")
    write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "elsewhere").read_text() == "not ours"
    assert (tmp_path / "a.csv").read_text() == "new"


def test_the_temporary_name_keeps_the_suffix_and_is_hidden(tmp_path):
    with whole_file(tmp_path / "deep" / "a.npz") as temporary:
        assert temporary.suffix == ".npz"
        assert temporary.name.startswith(".")
        temporary.touch()
    assert (tmp_path / "deep" / "a.npz").exists()


def test_two_writers_of_one_file_have_files_of_their_own(tmp_path):
    # Processes of two machines may have the same number.
    with whole_file(tmp_path / "a.txt") as one, whole_file(tmp_path / "a.txt") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a.txt").read_text() == "one"


def test_a_table_comes_back_with_awkward_text(tmp_path):
    rows = [{"id": 'a,"b"', "x": 1}, {"id": "line\nbreak"}]
    write_table(tmp_path / "t.csv", ("id", "x"), rows)
    assert read_table(tmp_path / "t.csv", ("id",)) == [
        {"id": 'a,"b"', "x": "1"},
        {"id": "line\nbreak", "x": ""},
    ]


def test_an_empty_table_is_a_header(tmp_path):
    write_table(tmp_path / "t.csv", ("id", "x"), [])
    assert (tmp_path / "t.csv").read_text() == "id,x\n"
    assert read_table(tmp_path / "t.csv", ("id", "x")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id\n1\n", "no column x"),
        (b"", "found nothing"),
        (b"id,x\n1\n", "line 2: 2 fields expected"),
        (b"id,x\n1,2,3\n", "line 2: 2 fields expected"),
        (b"id,x\n\xff,2\n", "not a CSV table in UTF-8"),
    ],
)
def test_a_table_edited_by_hand_is_told_where_it_broke(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_table(tmp_path / "t.csv", ("id", "x"))


def test_checksum_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        sha256_of(tmp_path / "a")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_json_keeps_other_alphabets_readable(tmp_path):
    write_json(tmp_path / "a.json", {"µ": "ö"})
    assert "µ" in (tmp_path / "a.json").read_text("utf-8")


def test_a_quick_hash_covers_size_beginning_and_end(tmp_path):
    path = tmp_path / "slide.tif"
    hashes = set()
    for content in (
        b"",
        b"a",
        b"b" * 200_000,
        b"b" * 200_001,
        b"a" + b"b" * 199_999,
        b"b" * 199_999 + b"a",
    ):
        path.write_bytes(content)
        hashes.add(quick_hash(path))
    assert len(hashes) == 6
    path.write_bytes(b"b" * 100_000 + b"?" + b"b" * 99_999)
    assert quick_hash(path) in hashes


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_text_that_cannot_be_added_for_a_full_disk_names_its_file(tmp_path):
    (tmp_path / "lines").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        append_text(tmp_path / "lines", "one more")
    assert (raised.value.errno, str(raised.value.filename)) == (
        errno.ENOSPC,
        str(tmp_path / "lines"),
    )


def test_text_is_added_at_the_end_of_a_file_that_may_not_be_there(tmp_path):
    append_text(tmp_path / "lines", "a\n")
    append_text(tmp_path / "lines", "ö")
    assert (tmp_path / "lines").read_text("utf-8") == "a\nö"
