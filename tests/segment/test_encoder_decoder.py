"""U-Net and DeepLabV3+ as segmenters: weights, sizes of images, loss and checkpoint."""

import pytest
import torch
import torchvision

from epsam.config.segmenter import SegmenterOptions
from epsam.core.device import select_device
from epsam.core.errors import WeightsError
from epsam.segment.registry import build_segmenter, load_segmenter, save_segmenter
from epsam.weak.imagenet import IMAGENET_FILES

CPU = select_device("cpu", "fp32")


def build(name="unet", **options):
    options = {"encoder": "resnet18", "pretrained": "none", **options}
    return build_segmenter(SegmenterOptions(segmenter=name, **options))


def noise(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_random_weights_depend_on_the_seed_alone_and_leave_torchs_state():
    before = torch.random.get_rng_state()
    first = build()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    for model, is_equal in ((build(), True), (build(seed=1), False)):
        key = "network.encoder.conv1.weight"
        assert torch.equal(model.state_dict()[key], first.state_dict()[key]) == is_equal


def test_the_encoder_starts_from_torchvisions_file_and_nothing_is_downloaded(tmp_path):
    resnet = torchvision.models.resnet18()
    torch.save(resnet.state_dict(), tmp_path / IMAGENET_FILES["resnet18"])
    model = build(pretrained="imagenet", checkpoint_root=str(tmp_path))
    encoder = model.network.encoder
    assert torch.equal(encoder.layer4[1].conv2.weight, resnet.layer4[1].conv2.weight)

    state = resnet.state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="1 missing .first layer1.0.conv1.weight"):
        build(pretrained=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("name", ["unet", "deeplab"])
def test_one_image_of_any_size_is_learnt_from_and_predicted(name):
    model = build(name).train()
    losses = model.loss(noise(1, 50), torch.ones(1, 1, 50, 50))
    losses.mean().backward()
    assert losses.shape == (1,)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        probabilities = model.eval().predict(noise(2, 50))
    assert probabilities.shape == (2, 1, 50, 50)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1


class Constant(torch.nn.Module):
    """Logit 0 everywhere; records what it sees."""

    def forward(self, images):
        self.images = images
        return torch.zeros(len(images), 1, *images.shape[-2:])


def test_the_loss_is_dice_and_iou_and_cross_entropy_where_the_mask_is_empty():
    model = build().eval()
    model.network = Constant()
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, 0, :16] = 1
    half, eps = 32 * 32 / 2, 1e-3
    # Probability ½ everywhere: half of the mask's 512 px overlap; both areas are 512.
    dice = (2 * half / 2 + eps) / (2 * half + eps)
    iou = (half / 2 + eps) / (2 * half - half / 2 + eps)
    expected = torch.tensor([2 - dice - iou, torch.tensor(2.0).log()])
    torch.testing.assert_close(model.loss(torch.zeros(2, 3, 32, 32), masks), expected)
    # Black, normalised as ImageNet's: −mean / deviation.
    expected_black = torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(model.network.images[0, :, 0, 0], expected_black)


@pytest.mark.parametrize("name", ["unet", "deeplab"])
def test_a_checkpoint_gives_the_same_network_back(tmp_path, name):
    model = build(name).eval()
    path = tmp_path / "segmenter.pth"
    save_segmenter(path, name, model, {"patch_size": 32, "mpp": 0.5})
    loaded = load_segmenter(path, CPU)
    assert (loaded.name, loaded.patch_size, loaded.mpp) == (name, 32, 0.5)
    with torch.no_grad():
        assert torch.equal(loaded.model.predict(noise(1, 32)), model.predict(noise(1, 32)))
