"""Segmenters by their name in `methods.SEGMENTERS`: build, save, and load whichever it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.config.sam import SamOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.methods import SAM_SEGMENTERS, SEGMENTERS, load_module
from epsam.segment.protocol import SegmenterMethod

NAME_KEY = "segmenter"
"""Key of a checkpoint: the name of its segmenter. SAM's decoders have none."""


@dataclass(frozen=True)
class LoadedSegmenter:
    """A trained `Segmenter` of images, its name, and how it was trained.

    patch_size: side of its patches, px. mpp: their resolution, µm/px; None: not known.
    """

    name: str
    model: Any
    patch_size: int
    mpp: float | None


def build_segmenter(options: SegmenterOptions) -> Any:
    """The untrained `Segmenter` of --segmenter."""
    return _method(options.segmenter).build(options)


def save_segmenter(path: Path, name: str, model: Any, metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint from which `load_segmenter` loads; `metadata` has at least patch_size."""
    method = _method(name) if name not in SAM_SEGMENTERS else _sam_method(name)
    method.save(path, model, {NAME_KEY: name, "made_with": dict(metadata)})


def is_segmenter(path: Path) -> bool:
    """Whether a checkpoint is one of `save_segmenter`, and not one of a decoder of SAM.

    Raises WeightsError if it cannot be read.
    """
    return NAME_KEY in load_plain(path)


def load_segmenter(
    path: Path,
    device_config: DeviceConfig,
    sam_options: SamOptions | None = None,
    folder: Path = Path("checkpoints"),
) -> LoadedSegmenter:
    """The trained segmenter of a checkpoint, whichever it is.

    sam_options, folder: where SAM's weights are, for a segmenter that is a SAM.

    Raises WeightsError if a file cannot be read or does not fit, EpsamError if its segmenter is not
    known here.
    """
    content = load_plain(path)
    metadata = content.get("made_with", {})
    if NAME_KEY not in content or "patch_size" not in metadata:
        raise WeightsError(
            f"{path}: no segmenter of train_segmenter.py or train_box_decoder.py; train it again, "
            "or correct the path"
        )
    name = str(content[NAME_KEY])
    if name in SAM_SEGMENTERS:
        model = _sam_method(name).load(path, device_config, sam_options or SamOptions(), folder)
    else:
        model = _method(name).load(path, device_config)
    # A network that stands in for the published one has a name of its own in tables.
    name = str(getattr(model, "row_name", name))
    return LoadedSegmenter(name, model, int(metadata["patch_size"]), metadata.get("mpp"))


def _method(name: str) -> SegmenterMethod:
    method: SegmenterMethod = load_module(SEGMENTERS, "--segmenter", name)
    return method


def _sam_method(name: str) -> Any:
    return load_module(SAM_SEGMENTERS, "--segmenter", name)
