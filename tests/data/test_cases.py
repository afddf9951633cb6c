"""What patches are grouped by: cases, or slides where no case is stated."""

import pytest

from epsam.ablation.results import read_scores
from epsam.core.files import write_table
from epsam.data.cases import load_groups
from epsam.paths import RunPaths


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("id,label,slide,case\na,1,s,c\nb,0,t,\n", ("case", {"a_1": "c"})),
        ("id,label,slide,case\na,1,s,\nb,0,,\n", ("slide", {"a_1": "s"})),
        ("id,label\na,1\n", ("slide", {})),
    ],
)
def test_cases_come_before_slides(tmp_path, columns, expected):
    (tmp_path / "patches.csv").write_text(columns)
    groups = load_groups(tmp_path / "patches.csv")
    assert (groups.column, dict(groups.by_patch)) == expected
    assert not load_groups(tmp_path / "none.csv").by_patch


@pytest.mark.parametrize("column", ["case", "slide", ""])
def test_a_runs_scores_know_the_case_or_slide_of_a_patch(tmp_path, column):
    row = {"split": "test", "what": "round 1", "id": "a_1", "dice": 0.5, "iou": 0.4, column: "x"}
    columns = [name for name in row if name]
    run = RunPaths(tmp_path)
    write_table(run.patch_scores, columns, [{name: row[name] for name in columns}])
    assert read_scores(run)["test", "round 1"].cases == ({"a_1": "x"} if column else {})
