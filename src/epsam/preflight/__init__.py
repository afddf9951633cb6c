"""Checks of software, data, disk and weights that take seconds and may save a run of days."""
