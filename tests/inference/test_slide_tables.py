"""Tables over all slides, and scores where there are annotations."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from epsam.inference.inputs import find_slides
from epsam.inference.slide_store import SlideStore
from epsam.inference.slide_tables import (
    collect_rows,
    format_metrics,
    log_summary,
    score_slides,
)
from epsam.inference.tile_model import Gate
from support.fake_tile_model import FakeTileModel, draw_slide, write_lossless_slide
from support.slide_runs import KEY, SETTINGS, TUMOUR, segment_all
from support.tables import read_rows


@pytest.mark.parametrize(
    "content", [b"", b'{"slide": "a", "sec', b"[]", b"{}", b'{"seconds": "x"}', b"\xff"]
)
def test_a_damaged_timing_file_counts_as_missing(slide_folder, tmp_path, caplog, content):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides, output)
    before = read_rows(output / "timings.csv")
    (output / "a" / "timings.json").write_bytes(content)
    assert segment_all(slides, output)[0].classified == 0
    assert read_rows(output / "timings.csv") == before[1:]
    assert [row["seconds"] for row in read_rows(output / "slides.csv")] == [
        "",
        before[1]["seconds"],
    ]
    assert "a/timings.json: damaged" in caplog.text


def test_seconds_are_logged_by_phase(slide_folder, tmp_path, caplog):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides, output)
    with caplog.at_level(logging.INFO):
        log_summary(*collect_rows(slides, SlideStore(output, KEY)), output)
    assert "tiles a second: decode " in caplog.text
    timing = json.loads((output / "a" / "timings.json").read_text())
    parts = sum(
        value
        for name, value in timing.items()
        if name not in ("slide", "seconds", "windows_per_second")
    )
    assert parts == pytest.approx(timing["seconds"], abs=0.01)


def test_metrics_without_a_value_are_not_logged():
    assert format_metrics({"scored": 0, "mean_dice": None, "iou": 0.5}) == "scored 0  iou 0.5"


def write_annotations(path, *boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = ""
    for left, top, right, bottom in boxes:
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        points = "".join(f'<Coordinate X="{x}" Y="{y}"/>' for x, y in corners)
        shapes += (
            f'<Annotation PartOfGroup="Tumor"><Coordinates>{points}</Coordinates></Annotation>'
        )
    path.write_text(f"<ASAP_Annotations><Annotations>{shapes}</Annotations></ASAP_Annotations>")


def test_ground_truth_gives_pixel_lesion_and_tile_metrics(tmp_path):
    """One lesion is detected and one missed; the other slide has one false positive."""
    detected, missed = (64, 64, 704, 704), (1000, 200, 1640, 840)
    write_lossless_slide(
        tmp_path / "images" / "t.tif", draw_slide(1000, 1700, [(0, 0, 1700, 1000)], [detected])
    )
    write_lossless_slide(
        tmp_path / "images" / "normal_1.tif",
        draw_slide(1000, 1000, [(0, 0, 1000, 1000)], [(400, 400, 600, 600)]),
    )
    write_lossless_slide(
        tmp_path / "images" / "unknown.tif",
        draw_slide(100, 100, [(0, 0, 100, 100)], [(20, 20, 60, 60)]),
    )
    write_annotations(tmp_path / "annotations" / "t.xml", detected, missed)
    settings, output = replace(SETTINGS, gate=Gate(False, 0.5)), tmp_path / "out"
    (tmp_path / "slide_labels.csv").write_text("slide,label\nnormal_001,normal\n")
    segment_all(find_slides(tmp_path), output, FakeTileModel(tile_size=128), settings)
    rows = {row["slide"]: row for row in read_rows(output / "slides.csv")}
    assert float(rows["t"]["dice"]) == pytest.approx(2 / 3, abs=1e-4)
    assert float(rows["t"]["iou"]) == pytest.approx(1 / 2, abs=1e-4)
    assert rows["normal_001"]["dice"] == rows["unknown"]["dice"] == ""
    # Half of the outlined area; of normal tissue, a box of 200 px in a slide of 1000.
    assert float(rows["t"]["recall"]) == pytest.approx(1 / 2, abs=1e-4)
    assert float(rows["t"]["false_positive_area"]) == pytest.approx(0, abs=1e-4)
    assert rows["normal_001"]["recall"] == rows["unknown"]["false_positive_area"] == ""
    assert float(rows["normal_001"]["false_positive_area"]) == pytest.approx(0.04, abs=0.002)
    ranges = {row["tumour_percent"]: row for row in read_rows(output / "tumour_fractions.csv")}
    # Windows of 128 px: 13×7 and 7×7 are whole; each lesion touches 6×6 and fills 4×4 of them.
    assert sum(int(row["windows"]) for row in ranges.values()) == 13 * 7 + 7 * 7
    assert int(ranges["0"]["windows"]) == 13 * 7 - 2 * 36 + 7 * 7
    assert float(ranges["0"]["marked"]) == pytest.approx(200**2 / (68 * 128**2), abs=1e-4)
    assert (ranges["0"]["dice"], ranges["0"]["recall"]) == ("", "")
    assert int(ranges["90-100"]["windows"]) == 2 * 16
    assert float(ranges["90-100"]["dice"]) == pytest.approx(1 / 2, abs=1e-4)
    assert float(ranges["90-100"]["recall"]) == pytest.approx(1 / 2, abs=1e-4)

    metrics = json.loads((output / "summary.json").read_text())
    assert metrics["recall"] == pytest.approx(1 / 2, abs=1e-4)
    assert (metrics["scored"], metrics["with_tumour"], metrics["lesions"]) == (2, 1, 2)
    assert metrics["mean_dice"] == metrics["pooled_dice"] == pytest.approx(2 / 3, abs=1e-4)
    assert metrics["froc_0.5"] == metrics["froc_8"] == 0.5
    assert read_rows(output / "froc.csv")[-1] == {
        "threshold": "1.000000",
        "false_finds_per_slide": "0.500000",
        "sensitivity": "0.500000",
    }
    tile_rows = read_rows(output / "t" / "windows.csv")
    scores, labels = [], []
    for row in tile_rows:
        x, y = int(row["x"]), int(row["y"])
        fractions = [
            max(0, min(x + 128, r) - max(x, a)) * max(0, min(y + 128, b) - max(y, c)) / 128**2
            for a, c, r, b in (detected, missed)
        ]
        if not sum(fractions) or sum(fractions) >= 0.2:
            scores.append(float(row["probability"]))
            labels.append(sum(fractions) > 0)
    for row in read_rows(output / "normal_001" / "windows.csv"):
        scores.append(float(row["probability"]))
        labels.append(False)
    pairs = [
        (a > b) + (a == b) / 2
        for a, la in zip(scores, labels, strict=True)
        if la
        for b, lb in zip(scores, labels, strict=True)
        if not lb
    ]
    assert metrics["patch_auroc"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_unreadable_annotations_leave_the_slide_done_and_not_scored(tmp_path, caplog):
    write_lossless_slide(
        tmp_path / "images" / "t.tif", draw_slide(100, 100, [(0, 0, 100, 100)], [(20, 20, 60, 60)])
    )
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "t.xml").write_text("<ASAP_Annotations>")
    rows = segment_all(find_slides(tmp_path), tmp_path / "out")[1]
    assert rows[0]["status"] == "done"
    assert "not scored" in caplog.text
    assert rows[0]["reason"].startswith("not scored: ")
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("windows.csv", b"x,y,tissue,probability,gated\n1,one,1,1,0\n"),
        ("windows.csv", None),
        ("probability.tif", b"cut"),
        ("mask.tif", b"cut"),
    ],
)
def test_damaged_results_are_not_scored_and_the_others_are(slide_folder, tmp_path, name, content):
    for slide in "ab":
        write_annotations(slide_folder / "annotations" / f"{slide}.xml", *TUMOUR)
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides, output)
    (output / "a" / name).unlink()
    if content:
        (output / "a" / name).write_bytes(content)
    scores, unscored = score_slides(slides, SlideStore(output, KEY))
    assert [score.slide for score in scores] == ["b"]
    assert list(unscored) == ["a"]
    assert unscored["a"].startswith("not scored: ")
    assert "\n" not in unscored["a"]
