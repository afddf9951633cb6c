"""A segmenter of another run's pseudo-labels is gated by a copy of that run's classifier."""

import numpy as np
import pytest
import torch

from epsam.config.evaluation import EvaluateOptions
from epsam.config.inference import InferOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.device import DeviceConfig
from epsam.evaluation.inputs import digest_inputs
from epsam.evaluation.prepare_run import prepare_evaluation
from epsam.inference.loading import load_tile_model
from epsam.inference.progress import PhaseTimer
from epsam.inference.weights import find_weights
from epsam.paths import RunPaths
from epsam.segment.registry import build_segmenter, save_segmenter
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier
from support.mini import SIDE, write_patches

CPU = DeviceConfig(torch.device("cpu"), None)


@pytest.fixture
def options(tmp_path):
    """A run of a segmenter and such a copy, both of random weights."""
    counts = {"train": (1, 1), "val": (1, 1), "test": (1, 2)}
    write_patches(tmp_path / "dataset" / "mini", counts=counts)
    options = EvaluateOptions(
        dataset_type="mini",
        dataset_root=str(tmp_path / "dataset"),
        checkpoint_root=str(tmp_path / "checkpoints"),
        run="pseudo",
        device="cpu",
    )
    run = RunPaths.of(options)
    torch.manual_seed(0)
    network = SegmenterOptions(segmenter="unet", encoder="resnet18", pretrained="none")
    save_segmenter(run.segmenter, "unet", build_segmenter(network), {"patch_size": SIDE})
    classifier = build_classifier(NetworkSpec("resnet18", input_size=SIDE))
    save_classifier(run.gate_classifier, classifier, {})
    return options


def test_evaluation_and_inference_gate_patches_by_its_probability(options):
    run = RunPaths.of(options)
    of_test = prepare_evaluation(options).classifications["test"]
    tiles = [patch.read() for patch in of_test.patches]
    evaluated = [of_test.probabilities[patch.name] for patch in of_test.patches]

    infer_options = InferOptions(run="pseudo", checkpoint_root=options.checkpoint_root)
    assert find_weights(infer_options) == (run.gate_classifier, run.segmenter)
    model = load_tile_model(infer_options, CPU)
    inferred, _ = model.classify(tiles, PhaseTimer(model.phases))
    images = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = model.weak_model.eval()(images).sigmoid().tolist()
    assert len(expected) == 3
    assert evaluated == pytest.approx(expected, abs=1e-5)
    assert inferred == pytest.approx(expected, abs=1e-5)


def test_without_the_copy_the_largest_probability_of_a_pixel_is_the_gate(options):
    run = RunPaths.of(options)
    before = digest_inputs(run, options)
    run.gate_classifier.unlink()
    evaluation = prepare_evaluation(options)
    of_test = evaluation.classifications["test"]
    predictor = evaluation.last_predictor
    maps = predictor.probabilities("test", of_test.patches)
    for patch, probability in zip(of_test.patches, maps, strict=True):
        assert of_test.probabilities[patch.name] == pytest.approx(float(probability.max()))
    # Scores that another classifier has gated are no longer current.
    after = digest_inputs(run, options)
    assert [name for name in before if before[name] != after[name]] == ["classifier"]
