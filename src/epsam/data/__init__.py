"""Patches on disk: the patch table, image files, batches, augmentation, kept embeddings and
maps.
"""
