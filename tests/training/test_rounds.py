"""Algorithm 1 on the mini dataset: the weights a round starts from."""

import shlex

import pytest
import torch

import finetune_decoder
import generate_initial_masks
import retrain_decoder
from epsam.config.command_line import parse
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.masks import MaskOptions
from epsam.engine.fit import fit
from epsam.paths import RunPaths
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier
from support.mini import FLAGS, SIDE, smaller_sam, write_patches, write_random_sam

pytestmark = pytest.mark.slow


@smaller_sam()
def test_each_round_starts_from_the_pretrained_decoder_not_from_the_round_before(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_patches(tmp_path / "dataset" / "mini")
    write_random_sam(tmp_path / "sam.pth")
    run = RunPaths(tmp_path / "checkpoints" / "mini")
    torch.manual_seed(0)
    network = build_classifier(NetworkSpec(backbone="resnet18"))
    # Weights of one sign, so that no map is empty.
    network.fc.weight.data.abs_()
    save_classifier(run.classifier, network, {"patch_size": SIDE})
    dataset = ["--dataset_type", "mini", "--device", "cpu"]
    sam = ["--sam_model_type", "vit_demo", "--sam_checkpoint", "sam.pth"]
    options = [*dataset, *sam, *shlex.split(FLAGS["DECODER_FLAGS"])]
    generate_initial_masks.main(
        parse("generate_initial_masks", MaskOptions, [*dataset, *shlex.split(FLAGS["MASK_FLAGS"])])
    )
    starts = []

    def recording_fit(task, *arguments, **keywords):
        weights = task.model.state_dict()
        starts.append({f"mask_decoder.{name}": value.clone() for name, value in weights.items()})
        return fit(task, *arguments, **keywords)

    monkeypatch.setattr("epsam.training.rounds.fit", recording_fit)
    finetune_decoder.main(parse("finetune_decoder", DecoderOptions, options))
    retrain_decoder.main(parse("retrain_decoder", RetrainOptions, [*options, "--n_iter", "2"]))

    pretrained = {
        name: value
        for name, value in torch.load(tmp_path / "sam.pth", weights_only=True).items()
        if name.startswith("mask_decoder.")
    }
    assert [same(weights, pretrained) for weights in starts] == [True] * 3
    assert not any(
        same(torch.load(run.round_decoder(number), weights_only=True)["model"], pretrained)
        for number in range(3)
    )


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
