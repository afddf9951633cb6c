"""Inference: from any image or slide to its tumour probability.

Tiles, the classifier's gate, prompts, SAM, and blending; then the files of results.
"""
