"""Patches on disk: the patch table, image files, batches, augmentation, stored embeddings and
CAMs.
"""
