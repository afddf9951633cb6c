"""Results are written into no input, and into no folder of other files."""

import json

import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import whole_file
from epsam.core.output_folders import (
    MARK_FILE,
    check_output_file,
    check_output_folder,
    claim_output_folder,
    is_output_of,
)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "mask").mkdir(parents=True)
    (folder / "mask" / "a.png").write_bytes(b"drawn by a person")
    return folder


@pytest.mark.parametrize(
    ("output", "relation"),
    [
        ("source", "is"),
        ("source/../source/", "is"),
        ("link", "is"),
        ("source/new/deeper", "lies in"),
        ("link/mask", "lies in"),
        (".", "holds"),
    ],
)
def test_a_folder_that_meets_an_input_is_refused(tmp_path, source, output, relation, monkeypatch):
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    for spelling in (tmp_path / output, type(tmp_path)(output)):
        with pytest.raises(DatasetError, match=f": {relation} the input .*--output_dir$"):
            claim_output_folder(spelling, "infer", [source])
    assert not (source / MARK_FILE).exists()
    assert not (source / "new").exists()


def test_an_input_that_is_a_link_into_the_output_is_refused(tmp_path, source):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mask").symlink_to(source / "mask")
    with pytest.raises(DatasetError, match="holds the input"):
        check_output_folder(source, "infer", [tmp_path / "other" / "mask"])


def test_a_neighbour_whose_name_begins_alike_is_no_part_of_the_input(tmp_path, source):
    claim_output_folder(tmp_path / "source2", "infer", [source])


def test_a_folder_is_written_into_if_it_is_new_empty_or_its_own(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    for name in ("empty", "new"):
        claim_output_folder(tmp_path / name, "infer")
        (tmp_path / name / "mask").mkdir()
        claim_output_folder(tmp_path / name, "infer")
        with pytest.raises(DatasetError, match=r"not results of compare\.py"):
            check_output_folder(tmp_path / name, "compare")
    with pytest.raises(DatasetError, match="holds files that are not results"):
        check_output_folder(source, "infer")


@pytest.mark.parametrize("name", [".finished.jsonl", "record.json"])
def test_results_of_versions_without_a_mark_are_recognised(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"infer": {}}))
    assert is_output_of("infer", tmp_path)
    check_output_folder(tmp_path, "infer")


@pytest.mark.parametrize("content", ['{"extract_patches": {}}', "[]", "{"])
def test_a_record_of_another_stage_or_a_damaged_one_marks_nothing(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    assert not is_output_of("infer", tmp_path)
    with pytest.raises(DatasetError, match="holds files"):
        check_output_folder(tmp_path, "infer")


def test_a_file_or_what_lies_below_one_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DatasetError, match="file is a file, not a folder; give another"):
            check_output_folder(output, "infer")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    # Root may write anywhere, so the system's answer is replaced.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(DatasetError, match="cannot be written to; change its permissions"):
        check_output_folder(tmp_path / "new", "infer")


def test_a_file_that_is_an_input_is_refused(tmp_path):
    (tmp_path / "start.pth").touch()
    (tmp_path / "link.pth").symlink_to(tmp_path / "start.pth")
    with pytest.raises(DatasetError, match="is the input .*give another file by --output"):
        check_output_file(tmp_path / "link.pth", [tmp_path / "start.pth"], "--output")
    check_output_file(tmp_path / "other.pth", [tmp_path / "start.pth"], "--output")


def test_a_mark_that_another_run_is_writing_or_was_killed_at_is_no_other_file(tmp_path):
    output = tmp_path / "out"
    with whole_file(output / MARK_FILE) as temporary:
        temporary.write_text("{")
        check_output_folder(output, "infer")
        (output / "notes.txt").touch()
        with pytest.raises(DatasetError, match="holds files that are not results"):
            check_output_folder(output, "infer")
        temporary.write_text('{"stage": "infer"}')
