import json
import shutil

import numpy as np
import pytest
import tifffile

from epsam.core.errors import DatasetError, FinishedWorkError
from epsam.data.images import write_rgb
from epsam.extraction import candidate_cache, write_patches
from epsam.extraction.replace_patches import mark_patches_outdated
from epsam.paths import DatasetPaths
from extract_patches import main
from support.slide_dataset import (
    HEIGHT,
    WIDTH,
    files,
    make_dataset,
    options_for,
    write_annotations,
    write_slide,
)


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "mine")


def test_patches_of_a_user_are_not_said_to_be_made_again(dataset, caplog):
    write_rgb(dataset / "train" / "image" / "a_1.png", np.full((8, 8, 3), 200, np.uint8))
    with caplog.at_level("INFO"):
        main(options_for(dataset))
    assert "holds 1 patches: step skipped" in caplog.text
    assert "--restart" not in caplog.text


def test_a_second_run_does_nothing_and_restart_makes_everything_again(dataset, caplog):
    main(options_for(dataset))
    before = files(dataset)
    (
        dataset
        / "train"
        / "image"
        / next(iter(sorted((dataset / "train" / "image").iterdir()))).name
    ).write_bytes(b"x")
    changed = files(dataset)
    with caplog.at_level("INFO"):
        main(options_for(dataset, workers=2, strict=True))
    assert "step skipped (--restart makes them again)" in caplog.text
    assert files(dataset) == changed != before
    main(options_for(dataset, restart=True))
    assert files(dataset) == before


def change(dataset, changed):
    """Change one input of the dataset; returns the options that go with it."""
    if changed == "annotations":
        write_annotations(dataset / "annotations" / "a.xml", corners=[(0, 0), (100, 0), (100, 100)])
    if changed == "slide":
        size = (dataset / "images" / "b.tif").stat().st_size
        image = write_slide(dataset / "images" / "b.tif")
        tifffile.imwrite(
            dataset / "images" / "b.tif",
            255 - image,
            tile=(64, 64),
            photometric="rgb",
            metadata=None,
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
        )
        assert (dataset / "images" / "b.tif").stat().st_size == size
    if changed == "new slide":
        write_slide(dataset / "images" / "d.tif")
        write_annotations(dataset / "annotations" / "d.xml")
    if changed in ("splits", "new slide"):
        (dataset / "splits.csv").write_text("slide,split\na,val\nb,train\nc,test\nd,train\n")
    return {"stride": 64} if changed == "options" else {}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("options", "stride 32 → 64"),
        ("annotations", "slides, splits or annotations"),
        ("slide", "slides, splits or annotations"),
        ("new slide", "slides, splits or annotations"),
        ("splits", "slides, splits or annotations"),
    ],
)
def test_a_change_of_inputs_replaces_all_patches_without_a_trace_of_the_old(
    dataset, caplog, changed, message
):
    main(options_for(dataset))
    before = files(dataset)
    options = change(dataset, changed)
    with caplog.at_level("INFO"):
        main(options_for(dataset, replace=True, **options))
    assert f"extracted again, as this has changed: {message}" in caplog.text
    replaced = files(dataset)
    assert replaced != before
    for split in ("train", "val", "test"):
        shutil.rmtree(dataset / split)
    (dataset / "patches.json").unlink()
    main(options_for(dataset, **options))
    assert files(dataset) == replaced
    caplog.clear()
    with caplog.at_level("INFO"):
        main(options_for(dataset, **options))
    assert "step skipped" in caplog.text


@pytest.mark.parametrize("changed", ["options", "annotations", "splits"])
def test_finished_patches_are_replaced_on_request_alone(dataset, changed):
    main(options_for(dataset))
    options = change(dataset, changed)
    before = files(dataset)
    with pytest.raises(FinishedWorkError) as error:
        main(options_for(dataset, **options))
    assert files(dataset) == before
    error.match(r"replace the patches of .*mine \((stride 32 → 64|slides, splits or annotations)")
    error.match(r"; took \d+ s\).*REPLACE=1 \(--replace\)")


def test_an_interrupted_replacement_goes_on_without_another_question(dataset, monkeypatch):
    main(options_for(dataset))
    with monkeypatch.context() as patched:
        interrupt_at(patched, "write_slide_patches", "c")
        with pytest.raises(KeyboardInterrupt):
            main(options_for(dataset, stride=64, replace=True))
    main(options_for(dataset, stride=64))
    assert json.loads((dataset / "patches.json").read_text())["options"]["stride"] == 64
    with pytest.raises(FinishedWorkError):
        main(options_for(dataset))
    mark_patches_outdated(DatasetPaths.of(options_for(dataset)))
    main(options_for(dataset))
    assert "outdated" not in json.loads((dataset / "patches.json").read_text())


def test_patches_of_an_earlier_version_are_current_and_named_when_stale(dataset, caplog):
    main(options_for(dataset))
    path = dataset / "patches.json"
    stored = json.loads(path.read_text())
    digest = stored["inputs"]["slides, splits or annotations"]
    # As version 0.1.0 wrote it.
    path.write_text(json.dumps({"options": stored["options"], "slides": digest}))
    before = files(dataset)
    main(options_for(dataset))
    assert files(dataset) == before
    with caplog.at_level("INFO"):
        main(options_for(dataset, stride=64, replace=True))
    assert "as this has changed: stride 32 → 64" in caplog.text


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_users_file_among_the_patches_is_not_lost_to_a_change(dataset, kind):
    main(options_for(dataset))
    users_file = dataset / "val" / kind / "mine_1.png"
    users_file.write_bytes(b"mine")
    before = files(dataset)
    main(options_for(dataset))
    with pytest.raises(
        DatasetError, match=r"mine_1\.png: lies among patches .* take it out, or pass --restart"
    ):
        main(options_for(dataset, stride=64))
    assert files(dataset) == before


def test_patches_outlive_their_slides(dataset, caplog):
    main(options_for(dataset))
    (dataset / "images" / "a.tif").unlink()
    before = files(dataset)
    main(options_for(dataset, stride=64))
    assert "1 of their slides are no longer there (a)" in caplog.text
    shutil.rmtree(dataset / "images")
    main(options_for(dataset, stride=64))
    assert "3 of their slides are no longer there (a, b, c)" in caplog.text
    assert files(dataset) == {
        path: content for path, content in before.items() if path.parts[0] != "images"
    }


@pytest.mark.parametrize("record", [None, "", "[]", '{"stride": 16}'])
def test_patches_of_unknown_provenance_stay(dataset, record):
    main(options_for(dataset))
    (dataset / "patches.json").unlink()
    if record is not None:
        (dataset / "patches.json").write_text(record)
    before = files(dataset)
    main(options_for(dataset, stride=64))
    assert files(dataset) == before


def test_patches_of_the_user_need_no_slides(tmp_path):
    folder = tmp_path / "mine" / "train" / "image"
    folder.mkdir(parents=True)
    (folder / "a_1.jpg").write_bytes(b"x")
    main(options_for(tmp_path / "mine"))
    assert not (tmp_path / "mine" / "patches.csv").exists()


def test_test_patches_of_the_user_are_replaced_only_with_restart(dataset):
    (dataset / "test" / "image").mkdir(parents=True)
    (dataset / "test" / "image" / "a_1.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match="--restart"):
        main(options_for(dataset))
    assert (dataset / "test" / "image" / "a_1.png").read_bytes() == b"x"


def test_a_run_killed_while_moving_patches_is_repeated(dataset):
    main(options_for(dataset))
    complete = files(dataset)
    (dataset / ".patches.part").mkdir()
    (dataset / ".patches.part" / "moving").touch()
    for path in (dataset / "train" / "image").iterdir():
        path.unlink()
    main(options_for(dataset))
    assert files(dataset) == complete


STEPS = {"score_tiles": candidate_cache, "write_slide_patches": write_patches}


def interrupt_at(monkeypatch, step, slide):
    """Interrupt a step at one slide; returns the list of slides that it has done before."""
    work, done = getattr(STEPS[step], step), []

    def interrupted(task, *arguments):
        record = getattr(task, "record", task)
        if record.name == slide:
            raise KeyboardInterrupt
        done.append(record.name)
        return work(task, *arguments)

    monkeypatch.setattr(STEPS[step], step, interrupted)
    return done


@pytest.mark.parametrize(
    ("step", "slide", "remaining"),
    [("score_tiles", "b", ["b", "c"]), ("write_slide_patches", "c", ["c"])],
)
def test_an_interrupted_run_resumes_with_the_next_slide(
    dataset, monkeypatch, step, slide, remaining
):
    main(options_for(dataset))
    complete = files(dataset)
    for path in (dataset / "train", dataset / "val", dataset / "test"):
        shutil.rmtree(path)
    with monkeypatch.context() as patched:
        interrupt_at(patched, step, slide)
        with pytest.raises(KeyboardInterrupt):
            main(options_for(dataset))
    # What a kill leaves: half a file of a slide that is not done.
    (dataset / ".patches.part" / "train" / "image" / ".x.123.part.png").write_bytes(b"half")
    done = interrupt_at(monkeypatch, step, "nobody")
    main(options_for(dataset))
    assert done == remaining
    assert files(dataset) == complete


@pytest.mark.parametrize("change", ["options", "slide", "annotations", "restart"])
def test_an_interrupted_run_with_other_inputs_is_not_resumed(dataset, monkeypatch, change):
    with monkeypatch.context() as patched:
        interrupt_at(patched, "write_slide_patches", "c")
        with pytest.raises(KeyboardInterrupt):
            main(options_for(dataset))
    options = {"options": {"stride": 64}, "restart": {"restart": True}}.get(change, {})
    if change == "slide":
        write_slide(dataset / "images" / "a.tif", size=(HEIGHT, WIDTH + 64))
    if change == "annotations":
        write_annotations(dataset / "annotations" / "a.xml", corners=[(0, 0), (100, 0), (100, 100)])
    done = interrupt_at(monkeypatch, "write_slide_patches", "nobody")
    main(options_for(dataset, **options))
    assert done == ["a", "b", "c"]


def test_a_link_instead_of_a_patch_folder_is_not_emptied(dataset, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").write_text("mine")
    (dataset / "val").mkdir()
    (dataset / "val" / "mask").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="val/mask: is a link"):
        main(options_for(dataset))
    assert (tmp_path / "elsewhere" / "mine.txt").read_text() == "mine"


def test_a_failing_run_keeps_the_old_patches(dataset):
    main(options_for(dataset))
    before = files(dataset / "train")
    with pytest.raises(DatasetError, match="no positive"):
        main(options_for(dataset, min_tumour=0.999, max_tumour=1.0, restart=True))
    assert files(dataset / "train") == before
    assert not (dataset / ".patches.part").exists()
