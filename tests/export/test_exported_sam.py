"""A run as a SAM checkpoint and as ONNX, against the packages that read them."""

import sys

import numpy as np
import pytest
import torch
from segment_anything.build_sam import _build_sam

import export_model
from epsam.config.export import ExportOptions
from epsam.core.errors import EpsamError, WeightsError
from epsam.export.onnx_decoder import INPUTS, draw_inputs
from epsam.segment.sam.decoder_weights import save_decoder
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam, load_sam
from epsam.segment.sam.specs import SPECS, SamSpec

# As `segment_anything` builds a SAM of these sizes: 1024 px, tokens of 16 px, windows of 14 tokens.
SMALL = SamSpec(32, 2, 2, (1,), "small_sam.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of weights with a SAM that the package can build, and a run with a decoder."""
    before = SPECS["vit_b"]
    SPECS["vit_b"] = SMALL
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    torch.save(build_sam("vit_b").state_dict(), folder / "small_sam.pth")
    # Another decoder than that of the file of SAM.
    save_decoder(folder / "mine" / "decoder_iter2.pth", build_sam("vit_b"), {})
    export_model.main(options(folder, ("sam", "onnx")))
    yield folder
    SPECS["vit_b"] = before


def options(folder, formats, **flags):
    return ExportOptions(
        run="mine",
        checkpoint_root=str(folder),
        formats=formats,
        sam_model_type="vit_b",
        sam_checkpoint=str(folder / "small_sam.pth"),
        **flags,
    )


def test_the_package_loads_the_checkpoint_strictly_and_has_the_trained_decoder(folder):
    path = folder / "mine" / "export" / "sam_vit_b_tumour.pth"
    # load_state_dict of the package is strict.
    sam = _build_sam(32, 2, 2, [1], checkpoint=str(path))
    untrained = torch.load(folder / "small_sam.pth")
    decoder = torch.load(folder / "mine" / "decoder_iter2.pth")["model"]
    for key, tensor in sam.state_dict().items():
        assert torch.equal(tensor, decoder.get(key, untrained[key])), key
    key = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(decoder[key], untrained[key])


@pytest.fixture(scope="module")
def session(folder):
    runtime = pytest.importorskip("onnxruntime")
    path = folder / "mine" / "export" / "sam_vit_b_tumour_decoder.onnx"
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run_session(session, inputs):
    arrays = [tensor.numpy() for tensor in inputs]
    return session.run(None, dict(zip(INPUTS, arrays, strict=True)))


def test_the_inputs_have_sams_own_names_and_any_number_of_points(session):
    assert [i.name for i in session.get_inputs()] == [
        "image_embeddings",
        "point_coords",
        "point_labels",
        "mask_input",
        "has_mask_input",
        "orig_im_size",
    ]
    shapes = {i.name: i.shape for i in session.get_inputs()}
    assert shapes["image_embeddings"] == [1, 256, 64, 64]
    assert shapes["point_coords"] == [1, "num_points", 2]


@pytest.mark.parametrize("has_mask", [0.0, 1.0])
def test_the_masks_are_those_of_training_within_1e_4(folder, session, has_mask):
    sam = load_sam("vit_b", folder / "mine" / "export" / "sam_vit_b_tumour.pth")
    embedding, points, labels, mask, _, _ = draw_inputs(sam, (512.0, 512.0), 7)
    inputs = (embedding, points, labels, mask, torch.tensor([has_mask]), torch.tensor([512.0] * 2))
    masks, _, low_res = run_session(session, inputs)

    # Training's prompts get their padding point from the prompt encoder, as the package adds one.
    with torch.no_grad():
        dense = mask if has_mask else None
        expected = decode(sam, embedding, points[:, :-1], labels[:, :-1], dense)
    np.testing.assert_allclose(low_res[:, 0], expected, atol=1e-4)
    logits = SamFrame(512, 1024).to_patch_logits(expected)
    np.testing.assert_allclose(masks[:, 0], logits, atol=1e-4)


def test_a_single_point_gives_the_trained_mask_too(folder, session):
    # The package's own ONNX takes one of the three untrained masks here.
    sam = load_sam("vit_b", folder / "mine" / "export" / "sam_vit_b_tumour.pth")
    inputs = draw_inputs(sam, (512.0, 512.0), 2)
    with torch.no_grad():
        expected = decode(sam, inputs[0], inputs[1][:, :1], torch.ones(1, 1), inputs[3])
    np.testing.assert_allclose(run_session(session, inputs)[2][:, 0], expected, atol=1e-4)


def test_an_image_that_is_no_square_gets_the_part_of_the_mask_that_is_image(folder, session):
    sam = load_sam("vit_b", folder / "mine" / "export" / "sam_vit_b_tumour.pth")
    inputs = draw_inputs(sam, (300.0, 600.0), 4)
    masks, _, low_res = run_session(session, inputs)
    assert masks.shape == (1, 1, 300, 600)
    # A width of 600 px fills SAM's 1024, a height of 300 px the upper 512.
    square = torch.nn.functional.interpolate(
        torch.from_numpy(low_res), (1024, 1024), mode="bilinear"
    )
    expected = torch.nn.functional.interpolate(square[:, :, :512], (300, 600), mode="bilinear")
    np.testing.assert_allclose(masks, expected, atol=1e-4)


def test_without_onnxruntime_one_line_says_what_to_install(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EpsamError, match="--formats onnx: onnxruntime cannot be imported"):
        export_model.main(options(folder, ("onnx",), output_dir=str(tmp_path / "new")))
    assert list((tmp_path / "new").glob("*.onnx")) == []


def test_a_run_that_is_not_there_and_an_unknown_format_are_named(folder, tmp_path):
    missing = ExportOptions(run="other", checkpoint_root=str(folder))
    with pytest.raises(WeightsError, match="other: no such run"):
        export_model.main(missing)
    with pytest.raises(WeightsError, match="--formats keras: no such format; give some of sam,"):
        export_model.main(options(folder, ("keras",)))
    with pytest.raises(WeightsError, match="--formats is empty"):
        export_model.main(options(folder, ()))


def test_a_folder_with_other_files_is_left_alone(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EpsamError, match="holds files that are not results of export_model.py"):
        export_model.main(options(folder, ("sam",), output_dir=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_decoder_of_another_sam_is_refused(folder):
    metadata = {"sam_model_type": "vit_b", "sam_sha256": "of another file"}
    path = folder / "stranger.pth"
    save_decoder(path, build_sam("vit_b"), metadata)
    with pytest.raises(WeightsError, match="trained with other weights of vit_b"):
        export_model.main(options(folder, ("sam",), sam_decoder_checkpoint=str(path)))
