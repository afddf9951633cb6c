"""Class activation maps: CAM methods, averaging over rotations, and the steps that turn a map into
an initial mask.
"""
