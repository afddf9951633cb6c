"""EP-SAM: weakly supervised segmentation of breast cancer in histopathology (arXiv 2410.13621)."""

from pathlib import Path

from epsam.core.early_interrupt import shorten_interrupts

__version__ = "0.2.0"

# First of all: what the scripts import after this line takes seconds.
shorten_interrupts(Path(__file__).parents[1])
