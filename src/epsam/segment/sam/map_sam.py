"""The SAM behind the maps: of a map refiner, and of a weak model on SAM's encoder."""

from pathlib import Path
from typing import Any

from epsam.config.presets import preset
from epsam.config.sam import MapSamOptions, SamOptions
from epsam.core.errors import WeightsError
from epsam.segment.sam.specs import find_checkpoint


def map_sam_name(map_sam: str, dataset_type: str) -> str:
    """The SAM behind the maps: --map_sam, else that of the dataset's preset, else the default."""
    defaults: dict[str, Any] = preset(dataset_type, "evaluate")
    return map_sam or defaults.get("sam_model_type", SamOptions.sam_model_type)


def find_map_sam(options: MapSamOptions, dataset_type: str, folder: Path) -> tuple[str, Path]:
    """Name and file of the SAM behind the maps. Raises WeightsError if the file is missing.

    folder: where the official files are, and where one is downloaded to.
    """
    name = map_sam_name(options.map_sam, dataset_type)
    path = Path(options.map_sam_checkpoint)
    if options.map_sam_checkpoint and not path.is_file():
        raise WeightsError(f"{path}: no such file; correct --map_sam_checkpoint or leave it out")
    return name, find_checkpoint(name, options.map_sam_checkpoint, folder)
