"""What makes a result stale, in words, and what a broken replacement leaves."""

import pytest

from epsam.core.artifact import NOT_DONE, SIZES, Artifact, Key
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, write_json, write_text

KEY = Key({"lr": 0.1, "bins": (1, 2)}, {"train": "t", "val": "v"})


def changed(options=None, inputs=None, **settings):
    return Key({**KEY.options, **(options or {})}, {**KEY.inputs, **(inputs or {})}, **settings)


@pytest.fixture
def folder(tmp_path):
    """A complete result of two files, with its record in a file of its own."""

    def open_artifact(key=KEY, **settings):
        root = tmp_path / "result"
        return Artifact(root, key, record=root / "record.json", **settings)

    for name in ("a.txt", "deep/b.txt"):
        write_text(tmp_path / "result" / name, name)
    root = tmp_path / "result"
    open_artifact().complete([root / "a.txt", root / "deep" / "b.txt"], {"note": "fine"})
    return open_artifact


def test_a_complete_result_is_current_and_has_its_content(folder):
    assert folder().is_current()
    assert folder().why_stale() == ""
    assert folder().read()["note"] == "fine"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (changed({"lr": 0.2}), "lr 0.1 → 0.2"),
        (changed({"bins": (1, 3)}), "bins [1, 2] → [1, 3]"),
        (changed({"lr": 0.2}, {"val": "w"}), "lr 0.1 → 0.2, val changed"),
        (changed({}, {"sam": "s"}), "sam is read now"),
        (Key(KEY.options, {"train": "t"}), "val is no longer read"),
        (changed({"lr": 1.0}, flags={"lr": "rate"}), "rate 0.1 → 1.0"),
    ],
)
def test_the_reason_names_options_old_and_new_and_inputs(folder, key, reason):
    assert folder(key).why_stale() == reason
    assert not folder(key).is_current()


def test_an_option_that_came_later_counts_as_its_default(folder):
    assert folder(changed({"beta": 0.9}, defaults={"beta": 0.9})).is_current()
    assert folder(changed({"beta": 0.5}, defaults={"beta": 0.9})).why_stale() == "beta 0.9 → 0.5"
    assert not folder(changed({"beta": 0.5})).is_current()


def test_an_option_that_no_longer_exists_leaves_results_valid(folder):
    assert folder(Key({"lr": 0.1}, KEY.inputs)).is_current()


def test_a_record_without_names_is_compared_by_digest_in_any_format(folder, tmp_path):
    path = tmp_path / "result" / "record.json"
    write_json(path, {"fingerprint": KEY.digest})
    assert folder().is_current()
    assert folder(changed({"lr": 0.2})).why_stale() == "options or inputs have changed"
    write_json(path, {"fingerprint": "of 0.1.0"})
    assert not folder().is_current()
    assert folder(changed(older=("of 0.1.0",))).is_current()


def test_the_digest_is_that_of_all_versions():
    # SHA-256 of '{"lr": 0.1}\nt', by sha256sum.
    expected = "393d914016aa751c7b8cad732ea5dda8b8993aeeca796a1905049e2bac477530"
    assert Key({"lr": 0.1}, {"train": "t"}).digest == expected


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_text("x.txt"), lambda path: path.unlink()]
)
def test_a_file_that_changed_or_went_is_named(folder, tmp_path, harm):
    harm(tmp_path / "result" / "deep" / "b.txt")
    assert folder().why_stale() == "deep/b.txt is missing or is not as it was written"


def test_sizes_alone_are_compared_where_content_takes_too_long(folder, tmp_path):
    root = tmp_path / "result"
    folder(check=SIZES).complete([root / "a.txt"])
    (root / "a.txt").write_text("12345")
    assert folder(check=SIZES).is_current()
    (root / "a.txt").write_text("1234")
    assert not folder(check=SIZES).is_current()


def test_a_damaged_list_of_files_means_that_the_result_is_stale(folder, tmp_path):
    write_json(tmp_path / "result" / "record.json", {**KEY.record(), "outputs": 3})
    assert folder().why_stale() == "its completion record is damaged"


def test_an_input_that_came_later_leaves_earlier_records_valid_where_it_may(folder):
    assert folder(changed({}, {"labels": "l"}, later_inputs=("labels",))).is_current()
    assert not folder(changed({}, {"val": "w"}, later_inputs=("val",))).is_current()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_or_missing_record_means_not_done(folder, tmp_path, content):
    (tmp_path / "result" / "record.json").write_text(content)
    assert folder().why_stale() == NOT_DONE
    folder().invalidate()
    folder().invalidate()
    assert folder().why_stale() == NOT_DONE
    assert (tmp_path / "result" / "a.txt").is_file()


def test_asking_changes_nothing_on_disk(folder, tmp_path):
    def contents():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = contents()
    for key in (KEY, changed({"lr": 0.2})):
        folder(key).is_current()
        folder(key).why_stale()
    assert contents() == before


def test_a_folder_is_replaced_whole_and_its_record_lists_what_it_holds(folder, tmp_path):
    new = changed({"lr": 0.2})
    with folder(new).replace() as replacement:
        write_text(replacement.path / "c.txt", "c")
        replacement.content["note"] = "new"
        assert folder().is_current()
    assert sorted(path.name for path in (tmp_path / "result").iterdir()) == ["c.txt", "record.json"]
    assert folder(new).is_current()
    record = read_json(tmp_path / "result" / "record.json")
    assert (record["note"], list(record["outputs"])) == ("new", ["c.txt"])
    assert not folder().is_current()


def fail_to_replace(artifact, write):
    with artifact.replace() as replacement:
        write(replacement.path)
        raise DatasetError("no")


def test_a_replacement_that_fails_leaves_the_old_result_and_no_trace(folder, tmp_path):
    with pytest.raises(DatasetError):
        fail_to_replace(folder(changed({"lr": 0.2})), lambda path: write_text(path / "c.txt", "c"))
    assert folder().is_current()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_single_file_holds_its_record_and_appears_whole(tmp_path):
    artifact = Artifact(tmp_path / "rows.json", KEY)
    with pytest.raises(DatasetError):
        fail_to_replace(artifact, lambda path: write_json(path, KEY.record()))
    assert list(tmp_path.iterdir()) == []
    with artifact.replace() as replacement:
        write_json(replacement.path, {**KEY.record(), "rows": [1]})
    assert artifact.is_current()
    assert artifact.read()["rows"] == [1]
