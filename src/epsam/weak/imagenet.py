"""The files of ImageNet's weights: where they are, and where they come from.

torchvision's IMAGENET1K_V1. The published code passes `pretrained=True` but ignores it
(docs/deviations.md, "ImageNet start").
"""

from pathlib import Path

from epsam.core.downloads import download

IMAGENET_SITE = "https://download.pytorch.org/models/"
IMAGENET_FILES = {
    "resnet50": "resnet50-0676ba61.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "vgg16": "vgg16-397923af.pth",
    "swin_t": "swin_t-704ceda3.pth",
}


def find_imagenet_file(backbone: str, folder: Path) -> Path | None:
    """The file of ImageNet's weights in `folder` or in torch hub's folder, or None."""
    path = folder / IMAGENET_FILES[backbone]
    if path.is_file():
        return path

    # Only PyTorch knows where its hub is, and takes seconds to import.
    from torch import hub

    # Its functions carry no types in older versions.
    hub_folder: str = hub.get_dir()  # type: ignore[no-untyped-call, unused-ignore]
    path = Path(hub_folder) / "checkpoints" / IMAGENET_FILES[backbone]
    return path if path.is_file() else None


def find_or_download_imagenet(backbone: str, folder: Path) -> Path:
    """The same file, downloaded to `folder` if it is not there yet. Raises WeightsError if that
    fails.
    """
    path = find_imagenet_file(backbone, folder)
    if path is not None:
        return path

    # torchvision puts the first digits of a file's SHA-256 into its name.
    name = IMAGENET_FILES[backbone]
    sha256_start = name.removesuffix(".pth").rpartition("-")[2]
    target = folder / name
    download(IMAGENET_SITE + name, sha256_start, target, hint=", or use --pretrained none")
    return target
