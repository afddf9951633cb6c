"""The training stages in two processes leave the files of one process, byte for byte."""

import signal

import pytest

from support.mini import FLAGS, clone, run, start
from support.processes import run_in_processes
from support.self_stop import let_fit_stop_itself, stop_by
from support.shared_fits import encode_mini, train_mini, train_mini_segmenter
from support.training_stages import working_in, write_mini_dataset
from support.untimed import contents

pytestmark = [pytest.mark.slow, pytest.mark.long]

FITTING = ("CLASSIFIER_FLAGS", "DECODER_FLAGS", "RETRAIN_FLAGS")
TIMED_METRICS = (",seconds,", ",data_wait_share,")


def files_of(folder):
    files = contents(folder / "checkpoints")
    metrics = files["mini/metrics.csv"].decode("utf-8").splitlines()
    timeless = [row for row in metrics if not any(name in row for name in TIMED_METRICS)]
    return {**files, "mini/metrics.csv": timeless}


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


def stop_second_process(folder, settings):
    """Run train.sh until its second process gets SIGTERM in the classifier's second epoch."""
    process = start(folder, "./train.sh", **settings, **stop_by(signal.SIGTERM, rank=1))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert list((folder / "checkpoints" / "mini" / "unfinished" / "train_classifier").glob("*.pth"))


def test_train_sh_in_two_processes_stopped_by_one_leaves_the_run_of_one_file_by_file(tmp_path):
    files = {}
    for gpus in ("1", "2"):
        folder = tmp_path / gpus
        folder.mkdir()
        let_fit_stop_itself(clone(folder))
        settings = {name: f"{FLAGS[name]} --leaves 4" for name in FITTING}
        settings.update(DEVICE="cpu", GPUS=gpus)
        if gpus == "2":
            stop_second_process(folder, settings)
        result = run(folder, "./train.sh", **settings)
        assert result.returncode == 0, result.stdout + result.stderr
        files[gpus] = files_of(folder)
    assert "mini/evaluation.csv" in files["1"]
    assert files["2"].keys() == files["1"].keys()
    assert [name for name in files["1"] if files["1"][name] != files["2"][name]] == []


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_cache_that_four_processes_fill_is_that_of_one(tmp_path, chunk):
    caches = []
    for size in (1, 4):
        folder = tmp_path / f"run_{size}"
        with working_in(folder):
            write_mini_dataset()
        run_in_processes(encode_mini, size, tmp_path / str(size), folder, chunk)
        caches.append(contents(folder / "dataset" / "mini" / "embeddings"))
    # Six tumour patches of train in two transforms, and three of val.
    assert len(caches[0]) == 15
    assert caches[1] == caches[0]


def test_an_error_of_the_second_process_is_the_last_line_and_the_exit_code(tmp_path):
    folder = clone(tmp_path)
    # Of six patches, the second process has every second one.
    damaged = folder / "dataset" / "mini" / "train" / "image" / "p1_1.png"
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    stage = "src/finetune_decoder.py --dataset_type mini --device cpu --sam_model_type vit_demo"
    flags = "--sam_checkpoint random_sam.pth --shard 1/1"
    result = run(folder, f"python src/start_processes.py 2 {stage} {flags}")
    last = result.stderr.splitlines()[-1]
    assert (result.returncode, last.startswith("error: ")) == (1, True)
    assert "p1_1.png" in last
    assert "Traceback" not in result.stdout + result.stderr
