"""WSSS-Tissue (Han et al., Medical Image Analysis 2022): a classifier with progressive dropout
attention, masks of three of its layers, and a DeepLabV3+ that learns from all three.

docs/deviations.md, "WSSS-Tissue".
"""
