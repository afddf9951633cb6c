"""Nothing that saves time may change the trained weights: whole stages on the mini dataset, each
run in two ways.
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
from epsam.config.decoder import FinetuneOptions, RetrainOptions
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
from epsam.segment.sam.specs import IMAGE
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier
from support.mini import FLAGS, SIDE, smaller_sam, write_patches, write_random_sam

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The mini dataset, SAM, a classifier whose CAMs are as good as random, and the run `cached`
    made with them.
    """
    folder = tmp_path_factory.mktemp("reference")
    before, threads = os.getcwd(), torch.get_num_threads()
    torch.set_num_threads(1)
    write_patches(folder / "dataset" / "mini")
    torch.manual_seed(0)
    network = build_classifier(NetworkSpec(backbone="resnet18"))
    # Weights of one sign, so that no CAM is empty.
    network.fc.weight.data.abs_()
    save_classifier(folder / "classifier.pth", network, {"patch_size": SIDE})
    with smaller_sam():
        write_random_sam(folder / "random_sam.pth")
        os.chdir(folder)
        train(folder, "cached", rounds=True)
        os.chdir(before)
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def folder(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(reference, tmp_path, dirs_exist_ok=True)


def train(folder, run, *flags, rounds=False, mask_flags=()):
    """Run steps 3 and 4, and a round of step 5; returns the weights of the last decoder."""
    paths = RunPaths(folder / "checkpoints" / run)
    paths.root.mkdir(parents=True)
    if not mask_flags:
        paths.classifier.write_bytes((folder / "classifier.pth").read_bytes())
    dataset = ["--dataset_type", "mini", "--run", run, "--device", "cpu"]
    sam = ["--sam_model_type", "vit_demo", "--sam_checkpoint", "random_sam.pth"]
    generate_initial_masks.main(
        parse(
            "generate_initial_masks",
            MaskOptions,
            [*dataset, *shlex.split(FLAGS["MASK_FLAGS"]), *mask_flags],
        )
    )
    decoder_flags = [
        *shlex.split(FLAGS["DECODER_FLAGS"]),
        "--embedding_transforms",
        "2",
        "--select_on",
        "last",
        *flags,
    ]
    finetune_decoder.main(
        parse("finetune_decoder", FinetuneOptions, [*dataset, *sam, *decoder_flags])
    )
    if rounds:
        retrain_decoder.main(
            parse(
                "retrain_decoder", RetrainOptions, [*dataset, *sam, *decoder_flags, "--n_iter", "1"]
            )
        )
    return decoder(folder, run, int(rounds))


def decoder(folder, run, number):
    """The decoder weights of a run's round; 0 is the preliminary decoder."""
    return torch.load(
        RunPaths(folder / "checkpoints" / run).round_decoder(number), weights_only=True
    )["model"]


def test_the_decoders_with_and_without_the_cache_are_equal_bit_by_bit(folder, monkeypatch):
    cached = decoder(folder, "cached", 1)
    assert list((folder / "dataset/mini/embeddings").rglob("*.npy"))
    loaded, load = [], EmbeddingStore.load

    def recording_load(store, digest):
        embedding = load(store, digest)
        if embedding is not None:
            loaded.append(digest)
        return embedding

    monkeypatch.setattr(EmbeddingStore, "load", recording_load)
    uncached = train(folder, "uncached", "--no-embedding_cache", rounds=True)
    assert not loaded
    assert all(torch.equal(cached[name], uncached[name]) for name in cached)


def test_only_labels_of_patches_are_learnt_from(folder):
    """A wrong ground truth of training and validation patches changes no weight."""
    before = decoder(folder, "cached", 1)
    masks = [
        path
        for split in ("train", "val")
        for path in (folder / "dataset/mini" / split / "mask").iterdir()
    ]
    assert len(masks) > 5
    for path in masks:
        write_mask(path, ~read_mask(path))
    after = train(folder, "after", rounds=True)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_external_classifier_gives_the_same_as_the_runs_own(folder):
    internal = train(folder, "internal", "--normal_patches", "0.3")
    external = train(
        folder,
        "external",
        "--normal_patches",
        "0.3",
        mask_flags=("--resnet_checkpoint", "classifier.pth"),
    )
    assert all(torch.equal(internal[name], external[name]) for name in internal)
    paths = RunPaths(folder / "checkpoints" / "external")
    assert (paths.cams("normal").is_file(), paths.classifier.exists()) == (True, False)
    metadata = torch.load(paths.preliminary_decoder, weights_only=True)["made_with"]
    assert metadata["classifier_sha256"] == sha256_of(folder / "classifier.pth")
    assert str(folder) not in str(metadata)
    options = [
        "--dataset_type",
        "mini",
        "--run",
        "external",
        "--device",
        "cpu",
        "--sam_model_type",
        "vit_demo",
        "--sam_checkpoint",
        "random_sam.pth",
    ]
    evaluate.main(parse("evaluate", EvaluateOptions, options))
    assert paths.evaluation.is_file()
    device_config = DeviceConfig(torch.device("cpu"), None)
    load_pipeline(
        parse("infer", InferOptions, [*options, "--resnet_checkpoint", "classifier.pth"]),
        device_config,
    )
    with pytest.raises(WeightsError, match="no such file; .* by --resnet_checkpoint"):
        load_pipeline(parse("infer", InferOptions, options), device_config)
    paths.classifier.write_bytes(b"another one")
    with pytest.raises(WeightsError, match="masks of another classifier .* by --resnet_checkpoint"):
        load_pipeline(parse("infer", InferOptions, options), device_config)


def test_with_damaged_embeddings_or_too_little_disk_the_decoder_is_the_same_and_a_warning_says_why(
    folder, monkeypatch, caplog
):
    cached = decoder(folder, "cached", 0)
    for path in (folder / "dataset/mini/embeddings").rglob("*.npy"):
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    again = train(folder, "again")
    assert any("is damaged" in message for message in caplog.messages)
    assert all(torch.equal(cached[name], again[name]) for name in cached)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000, total=10_000))
    uncached = train(folder, "full_disk")
    assert any("too little disk for the embeddings" in message for message in caplog.messages)
    assert all(torch.equal(cached[name], uncached[name]) for name in cached)


def test_fp16_embeddings_stay_within_0_005_of_the_test_dice_of_fp32_ones(folder, monkeypatch):
    @torch.no_grad()
    def encode_in_fp32(self, images):
        pixels = torch.stack([self.frame.to_sam_image(image) for image in images])
        return [{IMAGE: array} for array in self.sam.image_encoder(pixels).numpy()]

    def dice(run, *flags):
        flags = (*flags, "--epoch", "3", "--lr", "1e-3")
        weights = train(folder, run, *flags)
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
        (test_dice,) = [
            float(row["dice"])
            for row in rows
            if (row["split"], row["what"]) == ("test", "preliminary decoder")
        ]
        return test_dice, weights

    half, half_weights = dice("half")
    monkeypatch.setattr(SamSegmenter, "encode", encode_in_fp32)
    full, full_weights = dice("full", "--no-embedding_cache")
    name = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(half_weights[name], full_weights[name])
    assert np.isfinite(half)
    assert half > 0
    assert abs(half - full) <= 0.005


def test_with_half_precision_the_decoder_moves_in_the_same_direction(folder, monkeypatch):
    encode, plain = SamSegmenter.encode, DeviceConfig(torch.device("cpu"), None)

    def encode_fast(segmenter, images):
        # A CPU takes a hundred times as long for a convolution in fp16.
        fast = copy.copy(segmenter)
        fast.device_config = (
            plain
            if segmenter.device_config.autocast_dtype is torch.float16
            else segmenter.device_config
        )
        return encode(fast, images)

    monkeypatch.setattr(SamSegmenter, "encode", encode_fast)
    start = torch.load(folder / "random_sam.pth", weights_only=True)
    updates = {}
    for name in ("fp32", "bf16", "fp16"):
        weights = train(folder, name, "--precision", name)
        updates[name] = torch.cat(
            [(value - start[key]).flatten() for key, value in weights.items()]
        )
    for name in ("bf16", "fp16"):
        assert not torch.equal(updates["fp32"], updates[name])
        assert torch.cosine_similarity(updates["fp32"], updates[name], dim=0) > 0.95
