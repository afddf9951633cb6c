"""benchmarks/split_glas.py: patients stay together, and three of them become the test split."""

import sys
from pathlib import Path

import pytest

from support.tables import read_rows

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "train": ["p02-a-0_1", "p05-b-0_0", "p06-c-0_1", "p11-d-0_0"],
    "val": ["p03-e-0_1", "p03-f-0_0"],
}


@pytest.fixture
def split_glas(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import split_glas

    return split_glas


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_validation_stays_and_three_patients_become_test(split_glas, tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "glas"
    for split, stems in FILES.items():
        for folder in ("image", "mask"):
            (source / split / folder).mkdir(parents=True)
        for stem in stems:
            (source / split / "image" / f"{stem}.jpg").touch()
            if stem.endswith("_1"):
                (source / split / "mask" / f"{stem}.png").touch()

    monkeypatch.setattr(sys, "argv", ["split_glas.py", str(source), str(target)])
    split_glas.main()
    assert names(target / "train" / "image") == ["p02-a-0_1.jpg"]
    assert names(target / "val" / "image") == ["p03-e-0_1.jpg", "p03-f-0_0.jpg"]
    test = ["p05-b-0_0.jpg", "p06-c-0_1.jpg", "p11-d-0_0.jpg"]
    assert names(target / "test" / "image") == test
    assert names(target / "test" / "mask") == ["p06-c-0_1.png"]
    rows = {
        row["id"]: (row["split"], row["label"], row["case"])
        for row in read_rows(target / "patches.csv")
    }
    assert rows["p06-c-0"] == ("test", "1", "p06")
    assert len(rows) == 6

    with pytest.raises(SystemExit):
        split_glas.main()
