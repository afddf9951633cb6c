import hashlib

import numpy as np
import pytest
import torch

from epsam.config.decoder import DecoderOptions
from epsam.config.sam import PromptOptions
from epsam.core.device import select_device
from epsam.core.errors import DeviceError
from epsam.core.seeding import generator
from epsam.data.cam_store import CamStore
from epsam.data.d4 import apply_d4
from epsam.data.embeddings import EmbeddingStore, PatchEmbeddings
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.prompting.point_sampling import sample_points
from epsam.segment.sam.prompting.rules import scale_to_range
from epsam.training.sam_setup import (
    SamSetup,
    embedding_folder,
    load_prompt_inputs,
    prepare_embeddings,
    prepare_sam,
    prompt_patches,
)

SIDE = 16


def test_more_samples_and_transforms_leave_the_first_prompt_unchanged(tmp_path):
    run, mask = RunPaths(tmp_path), np.zeros((SIDE, SIDE), bool)
    mask[2:9, 4:15] = True
    write_rgb(tmp_path / "image" / "a_1.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    write_mask(run.initial_masks("val") / "a_1.png", mask)
    patch = Patch("a_1", 1, tmp_path / "image" / "a_1.png", None)
    cams = CamStore("c", {"a_1": np.random.default_rng(0).random((4, 4)).astype(np.float32)}, {})

    single = prompt_patches(run, "val", [patch], cams, PromptOptions(n_point=5), (7,))[0]
    weight = scale_to_range(load_prompt_inputs(run, "val", patch, cams).cam[None]) * mask
    # Black pixels, by their shape and bytes.
    digest = hashlib.blake2b(bytes(SIDE * SIDE * 3), digest_size=16)
    digest.update(b"(16, 16, 3)")
    expected = sample_points(weight, 5, [generator(7, "pepm", digest.hexdigest())])[0]
    assert np.array_equal(single.first_points[:, :2], expected)
    assert [(transform, len(prompts)) for transform, prompts in single.prompts] == [(0, 1)]

    augmented = prompt_patches(
        run, "val", [patch], cams, PromptOptions(n_point=5, n_sample=2, n_transform=4), (7,)
    )[0]
    assert np.array_equal(augmented.first_points, single.first_points)
    assert [transform for transform, _ in augmented.prompts] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({prompt.points.tobytes() for _, (prompt,) in augmented.prompts}) == 8
    for transform, (prompt,) in augmented.prompts:
        transformed = apply_d4(mask, transform)
        assert all(transformed[int(y), int(x)] for x, y, _ in prompt.points)


def test_too_little_gpu_memory_for_encoding_names_the_flag_of_the_encoder(tmp_path):
    def encode(images):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    write_rgb(tmp_path / "a_1.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    setup = SamSetup(
        None,
        PatchEmbeddings(EmbeddingStore(tmp_path / "embeddings", encode, ["image"]), SIDE),
        8,
        "",
    )
    with pytest.raises(DeviceError, match="encode 8 images at a time; lower --encoder_chunk"):
        prepare_embeddings(setup, [Patch("a_1", 1, tmp_path / "a_1.png", None)], 1)


def test_embeddings_of_other_weights_or_precision_have_another_folder(tmp_path):
    options = DecoderOptions(
        dataset_root=str(tmp_path), dataset_type="d", sam_model_type="vit_demo"
    )
    folders = [
        embedding_folder(options, checksum * 64, select_device("cpu", precision)).relative_to(
            tmp_path
        )
        for checksum, precision in (("a", "fp32"), ("a", "bf16"), ("b", "fp32"))
    ]
    # The name for fp32 is that of earlier versions, whose embeddings stay valid.
    assert list(map(str, folders)) == [
        "d/embeddings/vit_demo-aaaaaaaaaaaa-256px",
        "d/embeddings/vit_demo-aaaaaaaaaaaa-256px-bfloat16",
        "d/embeddings/vit_demo-bbbbbbbbbbbb-256px",
    ]


def test_runs_of_two_precisions_do_not_share_embeddings(tmp_path):
    torch.manual_seed(0)
    torch.save(build_sam("vit_demo").state_dict(), tmp_path / "sam.pth")
    options = DecoderOptions(
        dataset_root=str(tmp_path),
        dataset_type="d",
        sam_model_type="vit_demo",
        sam_checkpoint=str(tmp_path / "sam.pth"),
    )
    write_rgb(tmp_path / "a_1.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    for precision in ("fp32", "bf16"):
        setup = prepare_sam(options, SIDE, 1, 5, select_device("cpu", precision))
        prepare_embeddings(setup, [Patch("a_1", 1, tmp_path / "a_1.png", None)], 1)
    assert [
        len(list(folder.rglob("*.npy"))) for folder in (tmp_path / "d" / "embeddings").iterdir()
    ] == [1, 1]
