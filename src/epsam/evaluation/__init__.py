"""Scores: of a run, of thresholds, of whole slides."""
