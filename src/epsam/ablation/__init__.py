"""Ablations: named flag sets, what their runs reuse of each other, and the paper's tables from
their scores.
"""
