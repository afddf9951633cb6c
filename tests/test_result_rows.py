"""benchmarks/result_rows.py: rows of other days stay."""

from pathlib import Path

from epsam.core.files import read_table

ROOT = Path(__file__).resolve().parents[1]


def test_rows_are_added_at_the_end_of_a_file_or_begin_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from result_rows import append_rows

    path = tmp_path / "rows.csv"
    append_rows(path, ("run", "dice"), [{"run": "a", "dice": "0.5"}])
    append_rows(path, ("run", "dice"), [{"run": "b", "dice": "0.6"}, {"run": "a", "dice": "0.7"}])
    rows = [(row["run"], row["dice"]) for row in read_table(path, ("run", "dice"))]
    assert rows == [("a", "0.5"), ("b", "0.6"), ("a", "0.7")]
