"""Nothing that saves time may change what is learnt: whole stages on the mini dataset, each in two
ways.
"""

import copy
import os
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evaluate
import finetune_decoder
import generate_initial_masks
import retrain_decoder
from epsam.config.command_line import parse
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import read_table, sha256_of
from epsam.data.embeddings import EmbeddingStore
from epsam.data.images import read_mask, write_mask
from epsam.inference.loading import load_pipeline
from epsam.paths import RunPaths
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier
from support.mini import FLAGS, SIDE, smaller_sam, write_patches, write_random_sam

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The mini dataset, SAM, and a classifier whose maps are as good as random; and with these the
    run `kept`.
    """
    folder, before, threads = tmp_path_factory.mktemp("begun"), os.getcwd(), torch.get_num_threads()
    torch.set_num_threads(1)
    write_patches(folder / "dataset" / "mini")
    torch.manual_seed(0)
    network = build_classifier(NetworkSpec(backbone="resnet18"))
    # Weights of one sign, so that no map is empty.
    network.fc.weight.data.abs_()
    save_classifier(folder / "classifier.pth", network, {"patch_size": SIDE})
    with smaller_sam():
        write_random_sam(folder / "random_sam.pth")
        os.chdir(folder)
        learn(folder, "kept", rounds=True)
        os.chdir(before)
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def folder(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(begun, tmp_path, dirs_exist_ok=True)


def learn(folder, run, *flags, rounds=False, mask_flags=()):
    """A run of steps 3 and 4, and of a round of step 5; the weights of its last decoder."""
    paths = RunPaths(folder / "checkpoints" / run)
    paths.root.mkdir(parents=True)
    if not mask_flags:
        paths.classifier.write_bytes((folder / "classifier.pth").read_bytes())
    place = ["--dataset_type", "mini", "--run", run, "--device", "cpu"]
    sam = ["--sam_model_type", "vit_demo", "--sam_checkpoint", "random_sam.pth"]
    generate_initial_masks.main(
        parse(
            "generate_initial_masks",
            MaskOptions,
            [*place, *shlex.split(FLAGS["MASK_FLAGS"]), *mask_flags],
        )
    )
    own = [
        *shlex.split(FLAGS["DECODER_FLAGS"]),
        "--embedding_transforms",
        "2",
        "--select_on",
        "last",
        *flags,
    ]
    finetune_decoder.main(parse("finetune_decoder", DecoderOptions, [*place, *sam, *own]))
    if rounds:
        retrain_decoder.main(
            parse("retrain_decoder", RetrainOptions, [*place, *sam, *own, "--n_iter", "1"])
        )
    return decoder(folder, run, int(rounds))


def decoder(folder, run, number):
    """The weights of a run's decoder of that round, 0 being the preliminary one."""
    return torch.load(
        RunPaths(folder / "checkpoints" / run).round_decoder(number), weights_only=True
    )["model"]


def test_the_decoders_with_and_without_the_cache_are_equal_bit_by_bit(folder, monkeypatch):
    kept = decoder(folder, "kept", 1)
    assert list((folder / "dataset/mini/embeddings").rglob("*.npy"))
    stores = []
    monkeypatch.setattr(EmbeddingStore, "kept", lambda *_: stores.append("asked"))
    anew = learn(folder, "anew", "--no-embedding_cache", rounds=True)
    assert not stores
    assert all(torch.equal(kept[name], anew[name]) for name in kept)


def test_only_labels_of_patches_are_learnt_from(folder):
    """False truth for the training and validation patches changes no weight."""
    before = decoder(folder, "kept", 1)
    masks = [
        path
        for split in ("train", "val")
        for path in (folder / "dataset/mini" / split / "mask").iterdir()
    ]
    assert len(masks) > 5
    for path in masks:
        write_mask(path, ~read_mask(path))
    after = learn(folder, "after", rounds=True)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_given_classifier_does_for_all_steps_what_the_same_one_of_the_run_does(folder):
    own = learn(folder, "own", "--normal_patches", "0.3")
    given = learn(
        folder,
        "given",
        "--normal_patches",
        "0.3",
        mask_flags=("--resnet_checkpoint", "classifier.pth"),
    )
    assert all(torch.equal(own[name], given[name]) for name in own)
    paths = RunPaths(folder / "checkpoints" / "given")
    assert (paths.cams("normal").is_file(), paths.classifier.exists()) == (True, False)
    facts = torch.load(paths.preliminary_decoder, weights_only=True)["made_with"]
    assert facts["classifier_sha256"] == sha256_of(folder / "classifier.pth")
    assert str(folder) not in str(facts)
    place = [
        "--dataset_type",
        "mini",
        "--run",
        "given",
        "--device",
        "cpu",
        "--sam_model_type",
        "vit_demo",
        "--sam_checkpoint",
        "random_sam.pth",
    ]
    evaluate.main(parse("evaluate", EvaluateOptions, place))
    assert paths.evaluation.is_file()
    device_config = DeviceConfig(torch.device("cpu"), None)
    load_pipeline(
        parse("infer", InferOptions, [*place, "--resnet_checkpoint", "classifier.pth"]),
        device_config,
    )
    with pytest.raises(WeightsError, match="no such file; .* by --resnet_checkpoint"):
        load_pipeline(parse("infer", InferOptions, place), device_config)
    paths.classifier.write_bytes(b"another one")
    with pytest.raises(WeightsError, match="masks of another classifier .* by --resnet_checkpoint"):
        load_pipeline(parse("infer", InferOptions, place), device_config)


def test_with_damaged_embeddings_or_too_little_disk_the_decoder_is_the_same_and_a_warning_says_why(
    folder, monkeypatch, caplog
):
    kept = decoder(folder, "kept", 0)
    for path in (folder / "dataset/mini/embeddings").rglob("*.npy"):
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    again = learn(folder, "again")
    assert any("is damaged" in message for message in caplog.messages)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000, total=10_000))
    anew = learn(folder, "full_disk")
    assert any("too little disk for the embeddings" in message for message in caplog.messages)
    assert all(torch.equal(kept[name], anew[name]) for name in kept)


def test_fp16_embeddings_stay_within_0_005_of_the_test_dice_of_fp32_ones(folder, monkeypatch):
    @torch.no_grad()
    def encode_in_fp32(self, images):
        pixels = torch.stack([self.frame.to_sam_image(image) for image in images])
        return list(self.sam.image_encoder(pixels).numpy())

    def dice(run, *flags):
        flags = (*flags, "--epoch", "3", "--lr", "1e-3")
        weights = learn(folder, run, *flags)
        evaluate.main(
            parse(
                "evaluate",
                EvaluateOptions,
                [
                    "--dataset_type",
                    "mini",
                    "--run",
                    run,
                    "--device",
                    "cpu",
                    "--sam_model_type",
                    "vit_demo",
                    "--sam_checkpoint",
                    "random_sam.pth",
                    "--no-embedding_cache",
                ],
            )
        )
        rows = read_table(
            folder / "checkpoints" / run / "evaluation.csv", ("split", "what", "dice")
        )
        (found,) = [
            float(row["dice"])
            for row in rows
            if (row["split"], row["what"]) == ("test", "preliminary decoder")
        ]
        return found, weights

    half, half_weights = dice("half")
    monkeypatch.setattr(SamSegmenter, "encode", encode_in_fp32)
    full, full_weights = dice("full", "--no-embedding_cache")
    name = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(half_weights[name], full_weights[name])
    assert np.isfinite(half)
    assert half > 0
    assert abs(half - full) <= 0.005


def test_half_the_precision_leads_a_decoder_the_same_way(folder, monkeypatch):
    encode, plain = SamSegmenter.encode, DeviceConfig(torch.device("cpu"), None)

    def encode_fast(segmenter, images):
        # A CPU takes a hundred times as long for a convolution in fp16.
        quick = copy.copy(segmenter)
        quick.device_config = (
            plain
            if segmenter.device_config.autocast_dtype is torch.float16
            else segmenter.device_config
        )
        return encode(quick, images)

    monkeypatch.setattr(SamSegmenter, "encode", encode_fast)
    start = torch.load(folder / "random_sam.pth", weights_only=True)
    moved = {}
    for name in ("fp32", "bf16", "fp16"):
        found = learn(folder, name, "--precision", name)
        moved[name] = torch.cat([(value - start[key]).flatten() for key, value in found.items()])
    for name in ("bf16", "fp16"):
        assert not torch.equal(moved["fp32"], moved[name])
        assert torch.cosine_similarity(moved["fp32"], moved[name], dim=0) > 0.95
