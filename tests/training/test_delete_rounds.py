import csv
import json

import pytest

from epsam.paths import RunPaths
from epsam.training.delete_rounds import delete_rounds_after

ROUNDS = range(4)
FILES = (
    "stages/decoder_{}.json",
    "masks/iter_{}/a_1.png",
    "masks/iter_{}/probability/a_1.png",
    "panels/decoder_{}.png",
    "tensorboard/decoder_{}/events",
    "unfinished/decoder_{}/decoder_{}-ab.pth",
)
NOT_OF_ROUNDS = (
    "resnet_adl.pth",
    "sam_pre_decoder.pth",
    "stages/train_classifier.json",
    "masks/initial/train/a_1.png",
    "panels/test.png",
    "panels/initial_masks_val.png",
)


@pytest.fixture
def run(tmp_path):
    """Three rounds, with gaps where something was removed by hand."""
    names = [file.format(number, number) for file in FILES for number in ROUNDS]
    names += [*NOT_OF_ROUNDS, "decoder_iter1.pth", "decoder_iter3.pth"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    stages = ["train_classifier", *(f"decoder_{number}" for number in ROUNDS), "evaluate"]
    for name in ("options.json", "record.json"):
        (tmp_path / name).write_text(json.dumps({stage: {"seed": 1} for stage in stages}))
    rows = "".join(f"{stage},1,loss,0.5\n" for stage in ("classifier", *stages[1:5]))
    (tmp_path / "metrics.csv").write_text("stage,epoch,name,value\n" + rows)
    rows = "".join(f"{number},a,5,0.9,0.2,1,\n" for number in ROUNDS)
    (tmp_path / "pseudo_labels.csv").write_text(
        "round,id,points,ids,area_ratio,accepted,dice\n" + rows
    )
    return RunPaths(tmp_path)


def column(path, name):
    with path.open(newline="") as stream:
        return [row[name] for row in csv.DictReader(stream)]


def files(run):
    return {path.relative_to(run.root).as_posix() for path in run.root.rglob("*") if path.is_file()}


def test_files_and_rows_of_later_rounds_are_deleted_and_no_others(run):
    delete_rounds_after(run, 1)
    tables = {"options.json", "record.json", "metrics.csv", "pseudo_labels.csv"}
    remaining = {file.format(number, number) for file in FILES for number in (0, 1)}
    assert files(run) == remaining | tables | {*NOT_OF_ROUNDS, "decoder_iter1.pth"}
    assert sorted(path.name for path in (run.root / "masks").iterdir()) == [
        "initial",
        "iter_0",
        "iter_1",
    ]
    assert column(run.metrics, "stage") == ["classifier", "decoder_0", "decoder_1"]
    assert column(run.pseudo_labels, "round") == ["0", "1"]
    for table in (run.options, run.record):
        assert list(json.loads(table.read_text())) == [
            "train_classifier",
            "decoder_0",
            "decoder_1",
            "evaluate",
        ]


def test_round_ten_is_later_than_round_nine(tmp_path):
    for number in (9, 10):
        (tmp_path / f"decoder_iter{number}.pth").touch()
    delete_rounds_after(RunPaths(tmp_path), 9)
    assert [path.name for path in tmp_path.iterdir()] == ["decoder_iter9.pth"]


def test_without_later_rounds_no_file_is_written(run):
    before = {name: (run.root / name).stat().st_ino for name in files(run)}
    delete_rounds_after(run, 3)
    assert {name: (run.root / name).stat().st_ino for name in files(run)} == before
