"""A trained run for other programs: one SAM checkpoint, a WSInfer folder, the decoder as ONNX."""

import logging
from dataclasses import asdict
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.export import EXPORT_FORMATS, ExportOptions
from epsam.config.inference import InferOptions
from epsam.config.metadata import merge_fields
from epsam.core.errors import WeightsError
from epsam.core.output_folders import claim_output_folder
from epsam.paths import RunPaths

log = logging.getLogger(__name__)

NAME = "export_model"


def main(options: ExportOptions) -> None:
    """Write what --formats names; a format that cannot be written leaves none of its files."""
    formats = read_formats(options.formats)
    run = RunPaths.of(options)
    folder = Path(options.output_dir) if options.output_dir else run.root / "export"
    if not options.output_dir and not run.root.is_dir():
        raise WeightsError(f"{run.root}: no such run; train it with ./train.sh, or correct --run")
    claim_output_folder(folder, NAME)

    weights = merge_fields(InferOptions, asdict(options))
    if "wsinfer" in formats:
        write_classifier(folder / "wsinfer", weights)
    if "sam" in formats or "onnx" in formats:
        write_decoder(folder, formats, weights)


def read_formats(names: tuple[str, ...]) -> tuple[str, ...]:
    """The formats. Raises WeightsError for an unknown one, or for none."""
    unknown = [name for name in names if name not in EXPORT_FORMATS]
    if unknown or not names:
        raise WeightsError(
            f"--formats {','.join(unknown) or 'is empty'}: no such format; "
            f"give some of {','.join(EXPORT_FORMATS)}"
        )
    return names


def write_classifier(folder: Path, weights: InferOptions) -> None:
    """The classifier as a folder for WSInfer."""
    from epsam.export.wsinfer import write_wsinfer_folder
    from epsam.inference.weights import find_gate_classifier

    classifier = find_gate_classifier(weights)
    if classifier is None:
        raise WeightsError(
            f"{RunPaths.of(weights).classifier}: no such file, so there is no classifier to write; "
            "give one by --resnet_checkpoint, or leave wsinfer out of --formats"
        )
    write_wsinfer_folder(folder, classifier)
    log.info("classifier for WSInfer: %s", folder)


def write_decoder(folder: Path, formats: tuple[str, ...], weights: InferOptions) -> None:
    """SAM with the trained decoder as a checkpoint, as ONNX, or both."""
    from epsam.export.onnx_decoder import require_no_pixels, require_onnx, write_onnx_decoder
    from epsam.export.sam_checkpoint import load_trained_sam, write_sam_checkpoint

    if "onnx" in formats:
        # A missing package should not be noticed after the work.
        require_onnx()
    name, sam = load_trained_sam(weights)
    if "onnx" in formats:
        require_no_pixels(name, sam)
    if "sam" in formats:
        path = folder / f"sam_{name}_tumour.pth"
        write_sam_checkpoint(path, sam)
        log.info("SAM with the trained decoder: %s", path)
    if "onnx" in formats:
        path = folder / f"sam_{name}_tumour_decoder.onnx"
        write_onnx_decoder(path, sam)
        log.info("decoder as ONNX: %s", path)


if __name__ == "__main__":
    run_stage(NAME, ExportOptions, main)
