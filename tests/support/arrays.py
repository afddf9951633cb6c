"""Masks to be counted by hand."""

import numpy as np


def block(side, rows, columns):
    """A mask (side, side) that is True in the given rows and columns."""
    mask = np.zeros((side, side), bool)
    mask[rows, columns] = True
    return mask
