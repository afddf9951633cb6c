"""Costs of runs: what is counted, and where stages were interrupted or shared."""

import torch

from epsam.ablation.costs import RunCost, count_parameters, read_cost
from epsam.ablation.reuse import reuse_stage
from epsam.core.files import read_json, write_json
from epsam.paths import RunPaths

ENTRY = {"peak_ram_gib": 1.5, "peak_ram_worker_gib": 9.0}


def write_weights(path, **shapes):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}
    torch.save({"model": tensors}, path)


def test_counters_of_batch_norm_and_a_classifier_inside_of_a_segmenter_are_no_parameters(tmp_path):
    path = tmp_path / "x.pth"
    write_weights(
        path,
        network__conv__weight=(2, 3, 3, 3),
        network__bn__weight=(2,),
        network__bn__running_mean=(2,),
        network__bn__running_var=(2,),
        network__bn__num_batches_tracked=(),
        classifier__conv__weight=(50,),
    )
    assert count_parameters(path) == 2 * 3 * 3 * 3 + 2


def test_a_run_costs_its_training_stages_and_the_networks_that_it_ends_with(tmp_path):
    run = RunPaths(tmp_path)
    record = {
        "extract_patches": {"seconds": 1000.0, **ENTRY},
        # Interrupted: its last session took 5 seconds, its epochs 40.
        "train_classifier": {"seconds": 5.0, "fit_seconds": 40.0, **ENTRY},
        "decoder_0": {"seconds": 30.0, "fit_seconds": 20.0, **ENTRY, "peak_gpu_gib": 2.0},
        "decoder_1": {"seconds": 7.0, **ENTRY},
        "evaluate": {"seconds": 500.0, "peak_ram_gib": 8.0},
    }
    write_json(run.record, record)
    write_weights(run.classifier, fc=(10,))
    write_weights(run.preliminary_decoder, a=(100,))
    write_weights(run.round_decoder(1), a=(7, 2))
    assert read_cost(run) == RunCost(seconds=77.0, peak_gib=2.0, parameters=24)
    write_weights(run.segmenter, a=(5,))
    assert read_cost(run).parameters == 15
    assert read_cost(RunPaths(tmp_path / "none")) == RunCost(0.0, 0.0, 0)


def test_a_shared_stage_costs_what_it_cost_where_it_ran(tmp_path):
    source, target = RunPaths(tmp_path / "a"), RunPaths(tmp_path / "b")
    write_json(source.record, {"train_segmenter": {"seconds": 3.0, **ENTRY}})
    write_json(source.options, {"train_segmenter": {}})
    write_json(source.root / "stages" / "train_segmenter.json", {"fingerprint": "f"})
    write_weights(source.segmenter, a=(5,))
    reuse_stage(source, target, "train_segmenter")
    assert read_cost(target) == read_cost(source) == RunCost(3.0, 1.5, 5)
    assert read_json(target.root / "stages" / "train_segmenter.json")["fingerprint"] == "f"
