import pytest

import compare
from epsam.ablation.comparison import compare_runs, format_comparison, options_that_differ
from epsam.config.ablation import CompareOptions
from epsam.core.errors import DatasetError, EpsamError
from epsam.core.files import write_json, write_table
from epsam.paths import RunPaths
from epsam.tables import PATCH_SCORE_COLUMNS

NO_GROUPS: dict[str, str] = {}


def write_run(folder, quantile, groups=NO_GROUPS, **dice):
    run = RunPaths(folder)
    write_json(
        run.options,
        {"generate_initial_masks": {"run": folder.name, "quantile": quantile, "rotations": 4}},
    )
    write_table(
        run.patch_scores,
        (*PATCH_SCORE_COLUMNS, *groups),
        [
            {
                "split": "test",
                "what": predictor,
                "id": f"p{number}",
                "dice": value,
                "iou": value / 2,
                **groups,
            }
            for predictor, values in dice.items()
            for number, value in enumerate(values)
        ],
    )
    return run


@pytest.fixture
def runs(tmp_path):
    return {
        "a": write_run(tmp_path / "a", 0.3, **{"initial mask": [0.5, 0.7], "round 1": [0.6, 0.8]}),
        "b": write_run(tmp_path / "b", 0.4, **{"initial mask": [0.6, 0.8, 0.1]}),
    }


def test_only_settings_that_differ_are_listed(runs):
    assert options_that_differ(runs) == {"generate_initial_masks.quantile": ["0.3", "0.4"]}


def test_each_runs_own_mean_and_the_difference_over_common_patches(runs):
    records = {(r["masks"], r["run"]): r for r in compare_runs(runs, "test")}
    assert list(records) == [
        ("initial mask", "a"),
        ("initial mask", "b"),
        ("round 1", "a"),
        ("last round", "a"),
    ]
    second = records["initial mask", "b"]
    assert (second["dice"], second["iou"], second["patches"]) == (50, 25, 3)
    assert [second[name] for name in ("difference", "low", "high")] == pytest.approx([10, 10, 10])
    assert second["common_patches"] == 2
    text = format_comparison(options_that_differ(runs), list(records.values()), "test")
    assert "| generate_initial_masks.quantile | 0.3 | 0.4 |" in text
    assert "| initial mask | b | 3 | 50.00 | 25.00 | +10.00 [+10.00, +10.00] |" in text
    assert "| round 1 | a | 2 | 70.00 | 35.00 |  |" in text


def test_it_is_said_what_an_interval_draws(runs, tmp_path):
    assert {record["drawn"] for record in compare_runs(runs, "test")} == {"patch"}
    text = format_comparison({}, compare_runs(runs, "test"), "test")
    assert "For an interval, patches are drawn, as patches.csv states no cases" in text
    assert "the interval is too narrow." in text

    of_case = {"case": "1"}
    cases = {
        name: write_run(tmp_path / name, 0.3, of_case, **{"round 1": [0.5, 0.7]})
        for name in ("c", "d")
    }
    records = compare_runs(cases, "test")
    assert {record["drawn"] for record in records} == {"case"}
    assert "For an interval, whole cases are drawn." in format_comparison({}, records, "test")


def test_a_run_that_does_not_exist_or_was_not_scored_there_is_named(runs, tmp_path):
    with pytest.raises(DatasetError, match="is c the name of a run"):
        options_that_differ({**runs, "c": RunPaths(tmp_path / "c")})
    with pytest.raises(DatasetError, match="no scores of split val"):
        compare_runs(runs, "val")


def test_a_run_that_does_not_exist_is_named_and_no_stage_is_advised(tmp_path):
    (tmp_path / "first").mkdir()
    options = CompareOptions(runs=("first", "frist"), checkpoint_root=str(tmp_path))
    with pytest.raises(EpsamError, match="frist: no such run; name folders of"):
        compare.main(options)
