"""Whole slides → patches: reading, outlines, tissue, windows, splits. Knows nothing of models."""
