"""A run whose round is made again with corrections, and what a person draws for it."""

from pathlib import Path

from epsam.config.decoder import RetrainOptions


def rectangle(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    """The corners of a rectangle, px."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def options_with_corrections(root: Path, folder: str) -> RetrainOptions:
    """Options of run r of dataset d; `folder` of `root` holds what was corrected outside of it."""
    return RetrainOptions(
        dataset_type="d",
        dataset_root=str(root),
        checkpoint_root=str(root / "runs"),
        run="r",
        correction_slides=str(root / folder),
    )
