"""Scores of a run, of thresholds, and of slides."""
