"""From any image to a tumour probability: windows, the classifier's gate, points, SAM, and
blending.
"""
