"""Step 1, slides → patches: which slides, which tiles of them, and how the patches are
published.
"""
