from dataclasses import dataclass

from epsam.config.decoder import RetrainOptions
from epsam.config.flags import flag, result_options


def test_what_does_not_change_the_result_is_left_out():
    @dataclass(frozen=True)
    class Options:
        lr: float = flag(0.1, "rate")
        workers: int = flag(4, "processes", affects_result=False)

    assert result_options(Options(lr=0.2, workers=1)) == {"lr": 0.2}


def test_a_stage_is_the_same_wherever_and_however_conveniently_it_runs():
    place = {
        "run",
        "checkpoint_root",
        "dataset_root",
        "train_dataset_dir",
        "val_dataset_dir",
        "test_dataset_dir",
    }
    manner = {
        "device",
        "precision",
        "embedding_cache",
        "compile",
        "tensorboard",
        "debug",
        "restart",
        "allow_degenerate",
    }
    every = set(RetrainOptions.__dataclass_fields__)
    # More rounds go on from those that are there; a method is the flags that it sets.
    assert every - set(result_options(RetrainOptions())) == place | manner | {"n_iter", "method"}
