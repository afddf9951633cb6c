"""Which decoder stands behind which predictor."""

from types import SimpleNamespace

import torch
from torch import nn

from epsam.config.evaluation import EvaluateOptions
from epsam.config.sam import PromptOptions
from epsam.evaluation import predictors as predictors_module
from epsam.evaluation.predictors import open_predictors
from epsam.paths import RunPaths
from epsam.segment.sam.decoder_weights import save_decoder
from epsam.tables import INITIAL, PRELIMINARY, ZERO_SHOT


class OneWeightSam:
    """A SAM whose decoder has a single weight."""

    def __init__(self, weight):
        self.mask_decoder = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.mask_decoder.weight, weight)


def test_zero_shot_sam_has_its_pretrained_decoder_whatever_was_loaded_before(tmp_path, monkeypatch):
    run = RunPaths(tmp_path)
    for number in (0, 1):
        save_decoder(run.round_decoder(number), OneWeightSam(10.0 + number), {})
    sam = OneWeightSam(1.0)
    segmenter = SimpleNamespace(sam=sam, padded_to=lambda count: None)
    setup = SimpleNamespace(segmenter=segmenter, embeddings=None)
    monkeypatch.setattr(predictors_module, "prepare_sam", lambda *_: setup)
    # In place of a mask: the weight that it would be decoded with.
    monkeypatch.setattr(
        predictors_module,
        "predict_probabilities",
        lambda *_: [(None, sam.mask_decoder.weight.item())],
    )

    names = (INITIAL, ZERO_SHOT, PRELIMINARY, "round 1")
    options = EvaluateOptions(device="cpu", precision="fp32")
    predictors = open_predictors(options, run, {}, 8, dict.fromkeys(names, PromptOptions()))
    # Evaluation scores one split after the other, each by all decoders.
    weights = []
    for predictor in [*names[1:], *names[1:]]:
        weights += predictors.predict_probabilities(predictor, [])
    assert weights == [1, 10, 11, 1, 10, 11]
    assert torch.equal(predictors.pretrained_decoder["weight"], torch.ones(1, 1))
