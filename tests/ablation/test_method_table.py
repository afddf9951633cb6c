"""Table 2: methods beside each other, with what they learn from and what they cost."""

import math

import pytest

from epsam.ablation.costs import RunCost
from epsam.ablation.method_table import RunFigures, add_method_columns, format_method_table
from epsam.ablation.paper_tables import FINAL, TABLES
from epsam.ablation.results import PatchMetrics, read_all_patches_iou
from epsam.ablation.rows import read_rows
from epsam.ablation.tables import make_records
from epsam.core.files import write_table
from epsam.paths import RunPaths
from epsam.tables import METHOD_TABLE_COLUMNS, SCORE_COLUMNS

ROWS = read_rows("paper\nunet METHOD=unet\nwsss_tissue METHOD=wsss_tissue")
TABLE = TABLES[0]
CASES = {"a": "1", "b": "1", "c": "2"}
TRUNK = "wsss_tissue (resnet18)"


def metrics(*dice):
    values = dict(zip("abc", dice, strict=True))
    return PatchMetrics(values, values, CASES)


FILL = {("test", "fill"): metrics(0.5, 0.5, 0.5)}
RESULTS = {
    "paper": {
        22: {**FILL, ("test", FINAL): metrics(0.6, 0.6, 0.9)},
        23: {**FILL, ("test", FINAL): metrics(0.6, 0.6, 0.9)},
    },
    "unet": {22: {("test", "unet"): metrics(0.7, 0.8, 0.7)}},
    "wsss_tissue": {22: {("test", TRUNK): metrics(0.1, 0.2, 0.3)}},
}
FIGURES = {
    "paper": {
        22: RunFigures({("test", FINAL): 0.5, ("test", "all"): 0.2}, RunCost(100.0, 1.0, 24_000)),
        23: RunFigures({("test", FINAL): 0.7, ("test", "all"): 0.2}, RunCost(300.0, 2.0, 24_000)),
    },
    "unet": {22: RunFigures({}, RunCost(50.0, 1.25, 14_320_000))},
}


@pytest.fixture(scope="module")
def records():
    records = make_records(TABLE, RESULTS, ROWS)
    add_method_columns(TABLE, records, FIGURES, {"medsam_box": "checkpoints/medsam_vit_b.pth"})
    return {record["line"]: record for record in records}


def test_each_method_has_its_cost_and_what_it_learns_from(records):
    ours, unet = records["EP-SAM"], records["U-Net"]
    assert (ours["labels"], unet["labels"]) == ("patch labels", "masks")
    assert records["U-Net, pseudo-labels"]["labels"] == "pseudo-labels"
    assert (ours["seconds"], ours["peak_gib"], ours["parameters"]) == (200, 1.5, 24_000)
    # Seeds of 50 and 70 per cent.
    assert (ours["all_iou"], ours["all_iou_sd"]) == pytest.approx((60, 20 / math.sqrt(2)), abs=1e-3)
    assert set(records["EP-SAM"]) == set(METHOD_TABLE_COLUMNS)


def test_differences_are_from_ep_sam_by_case(records):
    unet = records["U-Net"]
    # Patches: +0.1, +0.2, -0.2; of the two cases, either may be drawn twice.
    assert unet["difference"] == pytest.approx(100 * 0.1 / 3, abs=1e-3)
    assert (unet["low"], unet["high"]) == pytest.approx((-20, 15))


def test_masks_of_no_method_are_those_of_any_run(records):
    assert (records["fill"]["dice"], records["fill"]["seeds"]) == (50, 2)
    assert math.isnan(records["all"]["dice"])
    assert records["all"]["all_iou"] == 20
    assert records["all"]["labels"] == ""


def test_a_row_has_the_name_of_the_network_that_stands_in(records):
    assert (records["WSSS-Tissue"]["masks"], records["WSSS-Tissue"]["dice"]) == (TRUNK, 20)


def test_markdown_names_the_file_that_a_row_lacks_and_the_papers_values(records):
    text = format_method_table(TABLE, list(records.values()))
    assert text.startswith("### Table 2: Methods")
    assert (
        "| MedSAM, box | masks | medsam_box | – (checkpoints/medsam_vit_b.pth is missing) | – | – "
        "| – | – | – | – | 81.06 | 68.69 | 81.08 |" in text
    )
    assert (
        "| EP-SAM * | patch labels | last round | 70.00 ± 0.00 | 70.00 ± 0.00 | 60.00 ± 14.14 |  "
        "| 0.0 | 200 | 1.50 | 83.83 / 73.74 |" in text
    )
    assert "| U-Net | masks | unet | 73.33 (1 of 2 seeds) | 73.33 | – | +3.33 [-20.00" in text
    assert "| 14.3 | 50 | 1.25 | 82 / 72.88 |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_the_iou_over_all_patches_is_read_where_there_is_one(tmp_path):
    run = RunPaths(tmp_path)
    assert read_all_patches_iou(run) == {}
    row = dict.fromkeys(SCORE_COLUMNS, "1") | {"split": "test"}
    scored = (("fill", "0.4"), ("initial mask", "0.5"), ("round 1", "0.6"), ("round 2", ""))
    rows = [{**row, "what": predictor, "all_iou": iou} for predictor, iou in scored]
    write_table(run.evaluation, (*SCORE_COLUMNS, "all_iou"), rows)
    assert read_all_patches_iou(run) == {
        ("test", "fill"): 0.4,
        ("test", "initial mask"): 0.5,
        ("test", "round 1"): 0.6,
        ("test", FINAL): 0.6,
    }
