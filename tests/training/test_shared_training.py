"""The training stages in two processes leave the files of one process, byte for byte."""

import pytest

from support.mini import FLAGS, clone, run
from support.processes import run_in_processes
from support.shared_fits import train_mini, train_mini_segmenter
from support.training_stages import working_in, write_mini_dataset
from support.untimed import contents

FITTING = ("CLASSIFIER_FLAGS", "DECODER_FLAGS", "RETRAIN_FLAGS")
TIMED_METRICS = (",seconds,", ",data_wait_share,")


def files_of(folder):
    files = contents(folder / "checkpoints")
    metrics = files["mini/metrics.csv"].decode("utf-8").splitlines()
    timeless = [row for row in metrics if not any(name in row for name in TIMED_METRICS)]
    return {**files, "mini/metrics.csv": timeless}


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_leave_the_files_of_one(tmp_path):
    files = {}
    for size in (1, 2):
        folder = tmp_path / f"run_{size}"
        with working_in(folder):
            write_mini_dataset()
        run_in_processes(train_mini, size, tmp_path / str(size), folder, 4)
        files[size] = files_of(folder)
    assert files[2].keys() == files[1].keys()
    assert [name for name in files[1] if files[1][name] != files[2][name]] == []
    caches = []
    for size in (1, 2):
        caches.append(contents(tmp_path / f"run_{size}" / "dataset" / "mini" / "embeddings"))
    assert caches[0] == caches[1] != {}


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_leave_the_segmenter_of_one(tmp_path):
    files = {}
    for size in (1, 2):
        folder = tmp_path / f"run_{size}"
        with working_in(folder):
            write_mini_dataset()
        run_in_processes(train_mini_segmenter, size, tmp_path / str(size), folder, 2)
        files[size] = files_of(folder)
    assert "mini/segmenter.pth" in files[1]
    assert files[2] == files[1]


@pytest.mark.slow
@pytest.mark.long
def test_train_sh_in_two_processes_leaves_the_run_of_one_file_by_file(tmp_path):
    files = {}
    for gpus in ("1", "2"):
        folder = tmp_path / gpus
        folder.mkdir()
        clone(folder)
        flags = {name: f"{FLAGS[name]} --leaves 4" for name in FITTING}
        result = run(folder, "./train.sh", DEVICE="cpu", GPUS=gpus, **flags)
        assert result.returncode == 0, result.stdout + result.stderr
        files[gpus] = files_of(folder)
    assert "mini/evaluation.csv" in files["1"]
    assert files["2"].keys() == files["1"].keys()
    assert [name for name in files["1"] if files["1"][name] != files["2"][name]] == []
