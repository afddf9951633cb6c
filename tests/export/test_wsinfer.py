"""The classifier as WSInfer takes it."""

import json

import pytest
import torch

import export_model
from epsam.config.export import ExportOptions
from epsam.core.errors import WeightsError
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import load_classifier, save_classifier

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")

SIDE = 48
FRAME = {"patch_size": SIDE, "mpp": 0.5}


def write_classifier(root, extra=FRAME, **spec):
    torch.manual_seed(0)
    model = build_classifier(NetworkSpec(backbone="resnet18", **spec))
    # Batch norm's statistics as after training, not the identity.
    model.train()
    model(torch.rand(4, 3, SIDE, SIDE))
    path = root / "mine" / "resnet_adl.pth"
    save_classifier(path, model, extra)
    return path


def export(root):
    export_model.main(ExportOptions(run="mine", checkpoint_root=str(root), formats=("wsinfer",)))
    return root / "mine" / "export" / "wsinfer"


@pytest.mark.parametrize(
    "spec", [{}, {"evp_fuse": "none"}, {"evp_fuse": "add"}, {"input_size": 32}], ids=str
)
def test_its_logits_are_0_and_the_classifiers_so_that_the_softmax_is_the_probability(
    tmp_path, spec
):
    classifier = load_classifier(write_classifier(tmp_path, **spec), "cpu")
    model = torch.jit.load(export(tmp_path) / "torchscript_model.pt")
    images = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, expected = model(images), classifier(images)
    assert logits.shape == (5, 2)
    assert torch.equal(logits[:, 0], torch.zeros(5))
    torch.testing.assert_close(logits[:, 1], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.softmax(1)[:, 1], expected.sigmoid(), atol=1e-5, rtol=0)


def test_nothing_in_it_names_the_device_of_the_export(tmp_path):
    # Else it would fail on a GPU, where WSInfer moves it to.
    write_classifier(tmp_path)
    model = torch.jit.load(export(tmp_path) / "torchscript_model.pt")
    graph = str(model.inlined_graph)
    assert "aten::fft_fft2" in graph
    assert "Device = prim::Constant" not in graph
    assert " Tensor = prim::Constant" not in graph
    assert [name for name, _ in model.named_buffers() if name.endswith("removed")]


def test_the_description_is_valid_by_the_schema_of_wsinfer_zoo(tmp_path):
    write_classifier(tmp_path)
    config = json.loads((export(tmp_path) / "config.json").read_text())
    # The required properties of wsinfer_zoo/schemas/model-config.schema.json, and their types.
    assert config["spec_version"] == "1.0"
    assert config["architecture"] == "resnet18"
    assert config["num_classes"] == 2 == len(set(config["class_names"]))
    assert config["class_names"][1] == "Tumor"
    assert config["patch_size_pixels"] == SIDE
    assert config["spacing_um_px"] == 0.5
    for step in config["transform"]:
        assert step["name"] in ("Resize", "ToTensor", "Normalize")
        assert set(step) <= {"name", "arguments"}
        assert isinstance(step.get("arguments", {}), dict)
    assert len(config) == 7


@pytest.mark.parametrize("extra", [{}, {"patch_size": SIDE, "mpp": None}, {"mpp": 0.5}], ids=str)
def test_a_classifier_that_does_not_state_its_resolution_is_refused(tmp_path, extra):
    write_classifier(tmp_path, extra)
    with pytest.raises(WeightsError, match="does not state the µm/px of its patches"):
        export(tmp_path)
    assert not (tmp_path / "mine" / "export" / "wsinfer").exists()


def test_a_run_without_a_classifier_is_one_line(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(WeightsError, match="there is no classifier to write"):
        export(tmp_path)
