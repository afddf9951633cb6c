"""EP-SAM: weakly supervised segmentation of breast cancer in histopathology (arXiv 2410.13621)."""

__version__ = "0.2.0"
