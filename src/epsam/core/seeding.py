"""Randomness without state: every draw comes from a generator keyed by (seed, purpose, id, epoch
…).

A draw therefore does not depend on worker count, on what was drawn before it, or on where a run was
resumed.
"""

import hashlib

import numpy as np


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on nothing else."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A fresh generator for the given key, for example `generator(seed, "prompts", patch_id,
    epoch)`.
    """
    return np.random.Generator(np.random.Philox(seed_for(*parts)))
