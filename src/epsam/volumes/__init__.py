"""NIfTI volumes with labels → data sets of slices."""
