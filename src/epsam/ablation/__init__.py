"""Ablations: named flag sets, what their runs can share, and the paper's tables out of their
scores.
"""
