import importlib
import inspect
import json
import pkgutil
from dataclasses import dataclass, fields, is_dataclass

import pytest

import demo.options
import epsam.config
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.flags import (
    RESULT_PARTS,
    OldSpelling,
    default_options,
    flag,
    flag_rows,
    options_of_older_versions,
    part_options,
    read_stored,
    result_options,
    stored_options,
)
from epsam.config.masks import MaskOptions, MaskRule


def test_options_that_change_no_result_are_left_out():
    @dataclass(frozen=True)
    class Options:
        lr: float = flag(0.1, "rate", affects_result=True)
        workers: int = flag(4, "processes", affects_result=False)

    assert result_options(Options(lr=0.2, workers=1)) == {"lr": 0.2}


def option_classes():
    modules = [demo.options]
    for module in pkgutil.iter_modules(epsam.config.__path__):
        modules.append(importlib.import_module(f"epsam.config.{module.name}"))
    for module in modules:
        for name, kind in inspect.getmembers(module, is_dataclass):
            if name.endswith("Options") and kind.__module__ == module.__name__:
                yield kind


@pytest.mark.parametrize("kind", list(option_classes()), ids=lambda kind: kind.__name__)
def test_every_option_says_whether_it_changes_a_result(kind):
    for item in fields(kind):
        assert isinstance(item.metadata["affects_result"], bool), item.name
        assert set(item.metadata["affects_only"]) <= set(RESULT_PARTS), item.name


def test_an_option_that_does_not_say_whether_it_changes_a_result_is_refused():
    with pytest.raises(TypeError, match="affects_result"):
        flag(1, "says nothing")


def test_a_part_depends_on_all_options_but_those_that_exclude_it():
    @dataclass(frozen=True)
    class Options:
        cam: str = flag("adl", "method", affects_result=True)
        quantile: float = flag(0.3, "cut", affects_result=True, affects_only=("masks",))
        weights: str = flag("", "file", affects_result=True, names_weights=True)
        workers: int = flag(4, "processes", affects_result=False)

    assert part_options(Options(), "cams") == {"cam": "adl"}
    assert part_options(Options(), "masks") == {"cam": "adl", "quantile": 0.3}


def test_a_flag_that_an_older_version_had_not_is_left_out_at_its_default():
    @dataclass(frozen=True)
    class Options:
        lr: float = flag(0.1, "rate", affects_result=True)
        weak_model: str = flag("adl", "network", affects_result=True, since="0.3")

    assert options_of_older_versions(Options()) == {"lr": 0.1}
    assert options_of_older_versions(Options(weak_model="mil")) == result_options(
        Options(weak_model="mil")
    )


def test_defaults_are_in_the_spelling_of_files():
    defaults = default_options(DecoderOptions)
    assert (defaults["n_draw"], defaults["select_on"], defaults["lr"]) == (1, "truth", 2e-4)
    assert defaults.keys() == stored_options(DecoderOptions()).keys()


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
        "replace",
        "allow_degenerate",
    }
    every = set(stored_options(RetrainOptions()))
    # A method is the flags that it sets.
    sets_others = {"method", "recipe", "method_preset"}
    # Of corrections and their slides the content is in the key.
    content_in_key = {"corrections", "correction_slides"}
    # More rounds continue from those that are there.
    without_effect = place | manner | sets_others | content_in_key | {"n_iter"}
    assert every - set(result_options(RetrainOptions())) == without_effect


def test_renamed_flags_and_values_are_stored_in_their_old_spelling():
    stored = stored_options(DecoderOptions(n_sample=3, pepm_weight="cam", prompt="pepm"))
    assert (stored["n_draw"], stored["n_view"], stored["embedding_views"]) == (3, 1, 2)
    assert (stored["pepm_weight"], stored["select_on"]) == ("activation", "truth")
    assert not {"n_sample", "n_transform", "embedding_transforms"} & stored.keys()
    assert result_options(MaskOptions())["postprocess"] == "ours"
    assert result_options(MaskOptions(refine="pam"))["refiner"] == "pam"
    assert read_stored(MaskOptions, {"refiner": "pam"}) == {"refine": "pam"}


def test_both_spellings_are_read_back():
    old = {"postprocess": "ours", "quantile": 0.5, "epoch": 3}
    new = {"postprocess": "quantile_opening", "quantile": 0.5, "epoch": 3}
    expected = {"postprocess": "quantile_opening", "quantile": 0.5}
    assert read_stored(MaskRule, old) == read_stored(MaskRule, new) == expected
    assert read_stored(DecoderOptions, {"n_view": 4, "prompt": "truth_random"}) == {
        "n_transform": 4,
        "prompt": "ground_truth_random",
    }


def test_stored_options_are_read_back_unchanged():
    options = RetrainOptions(n_sample=2, n_transform=8, embedding_transforms=4, select_on="pseudo")
    stored = json.loads(json.dumps(stored_options(options)))
    assert RetrainOptions(**read_stored(RetrainOptions, stored)) == options


def test_tuples_come_back_as_tuples():
    rule = MaskRule(stain_weights=(0.5, -1.0))
    stored = json.loads(json.dumps(stored_options(rule)))
    assert read_stored(MaskRule, stored)["stain_weights"] == (0.5, -1.0)
    assert read_stored(MaskRule, {"stain_weights": []}) == {"stain_weights": ()}


def test_a_row_names_stage_flag_default_and_source():
    @dataclass(frozen=True)
    class Options:
        n_sample: int = flag(
            4, "samples", source="paper 4.2", old=OldSpelling("n_draw"), affects_result=True
        )
        workers: int = flag(4, "processes", affects_result=False)
        n_iter: int = flag(3, "rounds", source="paper Table 5", affects_result=False)

    assert list(flag_rows("fit", Options)) == [
        ("fit", "--n_sample", "4", "paper 4.2"),
        ("fit", "--n_iter", "3", "paper Table 5"),
    ]
