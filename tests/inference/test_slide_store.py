"""Which slides count as finished, and who may work on one."""

import errno
import os
from dataclasses import replace

import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import quick_hash, read_json, write_json
from epsam.core.shards import Shard
from epsam.inference import slide_store
from epsam.inference.inputs import find_slides
from epsam.inference.segment_slides import segment_slides
from epsam.inference.slide_store import SlideStore
from epsam.inference.slide_tables import (
    collect_rows,
    write_tables,
)
from support.fake_tile_model import FakeTileModel, draw_slide, write_lossless_slide
from support.holder import CLAIM, holding
from support.slide_runs import KEY, OTHER_KEY, SETTINGS, TISSUE, segment_all
from support.tables import read_rows
from support.untimed import contents


def test_finished_slides_are_skipped_until_something_changes(slide_folder, tmp_path):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides, output)
    before = (output / "slides.csv").read_bytes()
    assert segment_all(slides, output)[0].classified == 0
    assert (output / "slides.csv").read_bytes() == before
    write_lossless_slide(slide_folder / "a.tif", draw_slide(400, 448, TISSUE, []))
    assert int(segment_all(slides, output)[0].classified) == int(
        read_rows(output / "slides.csv")[0]["seen"]
    )
    assert segment_all(slides, output, key=OTHER_KEY)[0].classified > 0


def test_a_slide_of_the_same_size_and_other_content_is_not_the_finished_one(slide_folder, tmp_path):
    slides, output = find_slides(slide_folder / "a.tif"), tmp_path / "out"
    segment_all(slides, output)
    assert SlideStore(output, KEY).is_finished(slides[0])
    content = bytearray((slide_folder / "a.tif").read_bytes())
    content[-1] ^= 1
    (slide_folder / "a.tif").write_bytes(content)
    assert not SlideStore(output, KEY).is_finished(slides[0])


def test_the_log_names_the_option_and_the_slide_that_have_changed(slide_folder, tmp_path, caplog):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides[:1], output)
    segment_all(slides[:1], output, key=OTHER_KEY)
    assert "a: done again: overlap 0.25 → 0.5" in caplog.text
    write_lossless_slide(slide_folder / "a.tif", draw_slide(400, 448, TISSUE, []))
    assert SlideStore(output, OTHER_KEY).why_stale(slides[0]) == "slide changed"


def test_results_of_an_earlier_version_are_current_by_their_fingerprint(slide_folder, tmp_path):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides[:1], output)
    path = output / "a" / "slide.json"
    content = read_json(path)
    for name in ("options", "inputs"):
        del content[name]
    write_json(path, content | {"fingerprint": f"old-{quick_hash(slide_folder / 'a.tif')}"})
    assert not SlideStore(output, KEY).is_finished(slides[0])
    assert SlideStore(output, replace(KEY, older=("old",))).is_finished(slides[0])
    (output / "a" / "mask.tif").unlink()
    assert not SlideStore(output, replace(KEY, older=("old",))).is_finished(slides[0])


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])],
    ids=["missing", "cut"],
)
@pytest.mark.parametrize(
    "name", ["mask.tif", "probability.tif", "tumour.geojson", "overlay.jpg", "windows.csv"]
)
def test_a_finished_slide_that_lost_a_result_is_done_again(
    slide_folder, tmp_path, caplog, name, damage
):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    seen = segment_all(slides, output)[1][0]["seen"]
    before = (output / "a" / name).read_bytes()
    damage(output / "a" / name)
    with pytest.raises(
        DatasetError, match="1 of 2 slides are not there with these options, such as a"
    ):
        SlideStore(output, KEY).check_complete(slides)
    assert segment_all(slides, output)[0].classified == seen
    assert (output / "a" / name).read_bytes() == before
    assert f"a: done again: {name} is missing or is not as it was written" in caplog.text


def test_a_slide_on_which_another_run_works_is_left_to_it(slide_folder, tmp_path, caplog):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    staging = output / ".0123456789ab.part"
    staging.mkdir(parents=True)
    with caplog.at_level("INFO"), holding(output / ".claims" / "a", CLAIM) as other:
        rows = segment_all(slides, output)[1]
    assert [(row["slide"], row["status"]) for row in rows] == [("b", "done")]
    assert staging.is_dir(), "the other run writes there"
    assert not (output / "a").exists()
    assert f"process {other.pid} on" in caplog.text
    assert (
        "1 slides are left to the other run, not in the tables: a; once it has ended, --merge"
        in caplog.text
    )
    assert [row["slide"] for row in segment_all(slides, output)[1]] == ["a", "b"]


class TakenOver(FakeTileModel):
    """While it works on slide a, another machine takes the claim over."""

    def __init__(self, output, raises):
        super().__init__()
        self.output, self.raises = output, raises

    def classify(self, tiles, timer):
        (holder,) = (self.output / ".claims" / "a").iterdir()
        if holder.name != "elsewhere.7.cafe":
            holder.rename(holder.with_name("elsewhere.7.cafe"))
            if self.raises:
                raise OSError("the other process has removed the folder")
        return super().classify(tiles, timer)


@pytest.mark.parametrize("raises", [False, True])
def test_results_of_a_slide_that_was_taken_over_are_dropped(slide_folder, tmp_path, caplog, raises):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    rows = segment_all(slides, output, TakenOver(output, raises))[1]
    assert [(row["slide"], row["status"]) for row in rows] == [("b", "done")]
    assert "a: another process has taken it over" in caplog.text
    assert not (output / "a").exists()
    assert [path.name for path in (output / ".claims" / "a").iterdir()] == ["elsewhere.7.cafe"]
    assert not list(output.glob("*.part"))


def test_a_slide_that_another_process_has_failed_on_meanwhile_is_not_tried_again(
    slide_folder, tmp_path
):
    (slide_folder / "a.tif").write_bytes(b"no slide")
    slides, output = find_slides(slide_folder), tmp_path / "out"
    store = SlideStore(output, KEY)
    assert len(store.find_unfinished(slides)) == 2
    segment_all(slides, output)
    with store.stage(slides[0]) as staged:
        assert staged is None
    # A later run tries it again.
    again = SlideStore(output, KEY)
    assert [slide.name for slide in again.find_unfinished(slides)] == ["a"]
    with again.stage(slides[0]) as staged:
        assert staged is not None
        staged.fail("again")


def test_a_slide_whose_file_cannot_be_read_stops_no_other(slide_folder, tmp_path, monkeypatch):
    def fail_on_a(path):
        if path.stem == "a":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return quick_hash(path)

    monkeypatch.setattr(slide_store, "quick_hash", fail_on_a)
    (slide_folder / "a.tif").write_bytes(b"no slide")
    rows = segment_all(find_slides(slide_folder), tmp_path / "out")[1]
    assert [(row["slide"], row["status"]) for row in rows] == [("a", "failed"), ("b", "done")]


def test_a_locked_slide_that_is_finished_is_in_the_tables(slide_folder, tmp_path):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides, output)
    with holding(output / ".claims" / "a", CLAIM):
        assert [row["slide"] for row in segment_all(slides, output)[1]] == ["a", "b"]


def test_three_shards_and_a_merge_leave_byte_for_byte_what_one_run_leaves(slide_folder, tmp_path):
    for name in ("c", "d", "e"):
        write_lossless_slide(
            slide_folder / f"{name}.tif",
            draw_slide(100, 90, [(10, 10, 80, 80)], [(20, 20, 60, 50)]),
        )
    (slide_folder / "broken.tif").write_bytes(b"no slide")
    slides = find_slides(slide_folder)
    segment_all(slides, tmp_path / "one")
    parts = [
        [slide for slide in slides if Shard(number, 3).holds(slide.name)] for number in (1, 2, 3)
    ]
    assert all(len(part) < len(slides) for part in parts)
    for part in parts:
        segment_slides(part, FakeTileModel(), SETTINGS, SlideStore(tmp_path / "three", KEY))
    SlideStore(tmp_path / "three", KEY).check_complete(slides)
    write_tables(*collect_rows(slides, SlideStore(tmp_path / "three", KEY)), [], tmp_path / "three")
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_a_merge_names_slides_that_are_missing_or_made_with_other_options(slide_folder, tmp_path):
    slides, output = find_slides(slide_folder), tmp_path / "out"
    segment_all(slides[:1], output)
    with pytest.raises(
        DatasetError, match="1 of 2 slides are not there with these options, such as b"
    ):
        SlideStore(output, KEY).check_complete(slides)
    with pytest.raises(DatasetError, match="1 of 1 slides"):
        SlideStore(output, OTHER_KEY).check_complete(slides[:1])
