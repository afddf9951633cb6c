"""SAM's prompt encoder and the trained decoder as one ONNX file, with the inputs and outputs of the
file that SAM's own script writes.
"""

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.onnx import SamOnnxModel
from torch import Tensor
from torch.nn import functional as F

from epsam.core.errors import EpsamError, WeightsError
from epsam.core.files import whole_file

INPUTS = (
    "image_embeddings",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
    "orig_im_size",
)
OUTPUTS = ("masks", "iou_predictions", "low_res_masks")
OPSET = 17
TOLERANCE = 1e-4
_TRACED_SIZE = (384.0, 512.0)
_CHECKED_SIZE = (512.0, 512.0)


class OneMaskOnnxModel(SamOnnxModel):  # type: ignore[misc]
    """SAM's own ONNX model that always answers with the mask that the decoder is trained for.

    The package takes the best of the three others where a prompt has a single point. Those are not
    trained here (docs/exporting.md).
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__(sam, return_single_mask=True)

    def select_masks(
        self, masks: Tensor, iou_preds: Tensor, num_points: int
    ) -> tuple[Tensor, Tensor]:
        return masks[:, :1], iou_preds[:, :1]

    def mask_postprocessing(self, masks: Tensor, orig_im_size: Tensor) -> Tensor:
        """Logits in the image's size (height, width)."""
        side = self.img_size
        square = F.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)
        # The package takes whole numbers here, which a trace holds for constants: its file would
        # fit images of one shape only.
        filled = self.resize_longest_image_size(orig_im_size, side)
        image_part = square[..., : filled[0], : filled[1]]
        # Scalar tensors while it is traced.
        size: Any = tuple(orig_im_size.to(torch.int64))
        return F.interpolate(image_part, size=size, mode="bilinear", align_corners=False)


def require_onnx() -> None:
    """Raise EpsamError unless onnx and onnxruntime are installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise EpsamError(
            f"--formats onnx: {error.name or 'onnx'} cannot be imported ({error}); "
            "run: pip install onnx onnxruntime, or leave onnx out of --formats"
        ) from error


def require_no_pixels(name: str, sam: Sam) -> None:
    """Raise EpsamError if the decoder of the SAM `name` reads the image, too."""
    if sam.mask_decoder.reads_pixels:
        raise EpsamError(
            f"--formats onnx: the decoder of {name} reads the image, for which SAM's ONNX file has "
            "no input; leave onnx out of --formats"
        )


def write_onnx_decoder(path: Path, sam: Sam) -> None:
    """Write the ONNX file, and compare it with the network, before it appears under its name.

    Raises EpsamError if onnx or onnxruntime is missing, WeightsError if the outputs differ.
    """
    require_onnx()
    model = OneMaskOnnxModel(sam).eval()
    with whole_file(path) as temporary:
        _export(model, draw_inputs(sam, _TRACED_SIZE, 3), temporary)
        _check_outputs(model, draw_inputs(sam, _CHECKED_SIZE, 5), temporary)


def draw_inputs(sam: Sam, image_size: tuple[float, float], points: int) -> tuple[Tensor, ...]:
    """Random inputs in the order of `INPUTS`; image_size: height and width in px."""
    random = torch.Generator().manual_seed(points)
    side = sam.image_encoder.img_size
    grid = sam.prompt_encoder.image_embedding_size
    mask_size = sam.prompt_encoder.mask_input_size
    labels = torch.ones(1, points)
    # SAM's prompts without a box end in a padding point.
    labels[:, -1] = -1
    return (
        torch.randn(1, sam.prompt_encoder.embed_dim, *grid, generator=random),
        torch.rand(1, points, 2, generator=random) * side,
        labels,
        torch.randn(1, 1, *mask_size, generator=random),
        torch.ones(1),
        torch.tensor(image_size),
    )


def _export(model: OneMaskOnnxModel, inputs: tuple[Tensor, ...], path: Path) -> None:
    # The exporter by torch.export, the default from PyTorch 2.9 on, needs onnxscript. Versions
    # before 2.5 have no other than the traced one.
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with warnings.catch_warnings():
        # Of shapes that are constant on purpose, and of the exporter's age.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            inputs,
            str(path),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}},
            opset_version=OPSET,
            **options,
        )


def _check_outputs(model: OneMaskOnnxModel, inputs: tuple[Tensor, ...], path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = [tensor.numpy() for tensor in inputs]
    outputs = session.run(list(OUTPUTS), dict(zip(INPUTS, arrays, strict=True)))
    for name, output, expected in zip(OUTPUTS, outputs, model(*inputs), strict=True):
        # Relative to the largest value, since logits of other weights have another scale.
        scale = max(1.0, float(expected.abs().max()))
        difference = float(np.abs(output - expected.numpy()).max()) / scale
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"{path.name}: {name} of onnxruntime differs by {difference:.2g} from PyTorch's; "
                "export with another version of onnxruntime"
            )
