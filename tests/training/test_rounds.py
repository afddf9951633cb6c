"""Algorithm 1 on the mini dataset: what a round starts from."""

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
def test_each_round_begins_with_sams_own_decoder_not_with_the_one_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_patches(tmp_path / "dataset" / "mini")
    write_random_sam(tmp_path / "sam.pth")
    run = RunPaths(tmp_path / "checkpoints" / "mini")
    torch.manual_seed(0)
    network = build_classifier(NetworkSpec(backbone="resnet18"))
    # Weights of one sign, so that no map is empty.
    network.fc.weight.data.abs_()
    save_classifier(run.classifier, network, {"patch_size": SIDE})
    place = ["--dataset_type", "mini", "--device", "cpu"]
    sam = ["--sam_model_type", "vit_demo", "--sam_checkpoint", "sam.pth"]
    options = [*place, *sam, *shlex.split(FLAGS["DECODER_FLAGS"])]
    generate_initial_masks.main(
        parse("generate_initial_masks", MaskOptions, [*place, *shlex.split(FLAGS["MASK_FLAGS"])])
    )
    begun = []

    def noted(task, *others, **named):
        begun.append(
            {
                f"mask_decoder.{name}": value.clone()
                for name, value in task.model.state_dict().items()
            }
        )
        return fit(task, *others, **named)

    monkeypatch.setattr("epsam.training.rounds.fit", noted)
    finetune_decoder.main(parse("finetune_decoder", DecoderOptions, options))
    retrain_decoder.main(parse("retrain_decoder", RetrainOptions, [*options, "--n_iter", "2"]))

    own = {
        name: value
        for name, value in torch.load(tmp_path / "sam.pth", weights_only=True).items()
        if name.startswith("mask_decoder.")
    }
    assert [same(weights, own) for weights in begun] == [True] * 3
    assert not any(
        same(torch.load(run.round_decoder(number), weights_only=True)["model"], own)
        for number in range(3)
    )


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in other)
