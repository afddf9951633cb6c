"""Class activation maps and embeddings by shards, as the command line computes them."""

import shlex
from pathlib import Path

import pytest

import finetune_decoder
import generate_initial_masks
import train_classifier
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.decoder import FinetuneOptions
from epsam.config.masks import MaskOptions
from epsam.core.errors import DatasetError, TrainingError
from support.mini import FLAGS
from support.training_stages import DATASET, SAM, working_in, write_mini_dataset
from support.untimed import contents

CACHE = Path("dataset") / "mini" / "embeddings"


def masks_options(*flags):
    return parse(
        "generate_initial_masks",
        MaskOptions,
        [*DATASET, "--open_kernel", "0", "--allow_degenerate", *flags],
    )


def decoder_options(*flags):
    return parse(
        "finetune_decoder",
        FinetuneOptions,
        [*DATASET, *SAM, "--embedding_transforms", "1", *flags],
    )


def test_shards_encode_every_patch_once_without_a_run(tmp_path, caplog):
    with working_in(tmp_path), caplog.at_level("INFO"):
        write_mini_dataset()
        for number in (1, 2):
            finetune_decoder.main(decoder_options("--shard", f"{number}/2"))
        # Six positive patches of train and three of val.
        assert len(list(CACHE.rglob("*.npy"))) == 9
        assert not Path("checkpoints").exists()

        caplog.clear()
        finetune_decoder.main(decoder_options("--shard", "1/1"))
        assert "6 patches in 1 transforms, 0 encoded now" in caplog.text
        with pytest.raises(TrainingError, match="no cache to encode into"):
            finetune_decoder.main(decoder_options("--shard", "1/1", "--no-embedding_cache"))
        with pytest.raises(DatasetError, match="--shard 3/2: no shard"):
            finetune_decoder.main(decoder_options("--shard", "3/2"))


@pytest.mark.slow
@pytest.mark.long
def test_the_masks_after_shards_are_those_of_one_run(tmp_path):
    with working_in(tmp_path):
        write_mini_dataset()
        classifier = [*DATASET, *shlex.split(FLAGS["CLASSIFIER_FLAGS"]), "--epoch", "1"]
        train_classifier.main(parse("train_classifier", ClassifierOptions, classifier))
        for run in ("whole", "mini"):
            external = ("--resnet_checkpoint", "checkpoints/mini/resnet_adl.pth", "--run", run)
            for number in (1, 2, 3) if run == "mini" else ():
                shard = ("--shard", f"{number}/3")
                generate_initial_masks.main(masks_options(*external, *shard))
                assert not Path("checkpoints/mini/activation/train.npz").exists()
            generate_initial_masks.main(masks_options(*external))
        files = {}
        for run in ("whole", "mini"):
            for folder in ("activation", "masks"):
                files[run, folder] = contents(Path("checkpoints") / run / folder)
        assert files["mini", "activation"] == files["whole", "activation"] != {}
        assert files["mini", "masks"] == files["whole", "masks"] != {}
