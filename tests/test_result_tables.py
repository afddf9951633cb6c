"""The tables of docs/results.md and docs/real_tissue.md are those of their CSV files."""

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "results"


@pytest.fixture
def result_tables(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import result_tables

    return result_tables


def write_scores(folder):
    folder.joinpath("scores.csv").write_text(
        "split,seed,masks,dice,sd\nval,1,round 1,0.50,0.1\nval,2,round 1,0.60,\n"
        "test,1,round 1,0.7,\n"
    )


def test_the_page_shows_what_the_files_hold(result_tables):
    for path in result_tables.PAGES:
        page = path.read_text("utf-8")
        assert "<!-- table" in page
        assert result_tables.fill_page(page, FOLDER) == page


def test_a_pivot_has_a_line_for_each_row_and_a_column_for_each_value(result_tables, tmp_path):
    write_scores(tmp_path)
    settings = {"file": "scores.csv", "rows": "seed", "columns": "masks; split", "value": "dice"}
    assert result_tables.make_table(settings, tmp_path).splitlines() == [
        "| seed | round 1, val | round 1, test |",
        "| --- | --- | --- |",
        "| 1 | 0.50 | 0.7 |",
        "| 2 | 0.60 |  |",
    ]


def test_two_values_for_a_cell_are_an_error_and_so_is_no_row(result_tables, tmp_path):
    write_scores(tmp_path)
    settings = {"file": "scores.csv", "rows": "masks", "columns": "split", "value": "dice"}
    with pytest.raises(ValueError, match="two values"):
        result_tables.make_table(settings, tmp_path)
    with pytest.raises(ValueError, match="no row with split=train"):
        result_tables.make_table({**settings, "where": "split=train"}, tmp_path)


def test_a_field_may_have_one_of_several_values(result_tables, tmp_path):
    write_scores(tmp_path)
    settings = {"file": "scores.csv", "show": "seed = {seed}; split = {split}"}
    every = result_tables.make_table(settings, tmp_path)
    either = result_tables.make_table({**settings, "where": "split=val|test"}, tmp_path)
    assert either == every
    one = result_tables.make_table({**settings, "where": "split=test|train"}, tmp_path)
    assert one.splitlines()[2:] == ["| 1 | test |"]


def test_a_list_prints_what_is_there_of_a_cell(result_tables, tmp_path):
    write_scores(tmp_path)
    settings = {
        "file": "scores.csv",
        "where": "split=val",
        "show": "seed = {seed}; Dice = {dice} ± {sd}",
    }
    assert result_tables.make_table(settings, tmp_path).splitlines()[2:] == [
        "| 1 | 0.50 ± 0.1 |",
        "| 2 | 0.60 |",
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.name)
def test_every_number_has_its_command_and_its_revision_or_a_note(path):
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    for row in rows:
        assert row["command"]
        assert row["revision"] or row["revision_note"]
