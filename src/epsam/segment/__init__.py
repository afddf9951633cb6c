"""Segmenters: what learns from masks."""
