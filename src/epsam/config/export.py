"""Flags of export_model.py."""

from dataclasses import dataclass

from epsam.config.common import RunFolderOptions
from epsam.config.flags import flag
from epsam.config.inference import CheckpointOptions
from epsam.config.sam import SAM_NAMES, SamWeightOptions

EXPORT_FORMATS = ("sam", "wsinfer", "onnx")


@dataclass(frozen=True)
class ExportOptions(CheckpointOptions, SamWeightOptions, RunFolderOptions):
    """Write a trained run as files for other programs: SAM, WSInfer, ONNX."""

    sam_model_type: str = flag(
        "",
        "SAM's image encoder; empty: that of the decoder's training, by its file",
        choices=SAM_NAMES,
        affects_result=True,
        names_weights=True,
    )
    formats: tuple[str, ...] = flag(
        EXPORT_FORMATS,
        "what to write: sam (a checkpoint of the whole SAM with the trained decoder), wsinfer (a "
        "folder of the classifier), onnx (the decoder)",
        affects_result=False,
    )
    output_dir: str = flag(
        "", "folder for the files; empty: export/ in the run's folder", affects_result=False
    )
