"""Whole-slide images: reading and writing pyramids, their resolution, their tissue."""
