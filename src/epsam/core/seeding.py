"""Random numbers without state: each draw has a generator, keyed by (seed, purpose, id, epoch, …).

A draw therefore does not depend on the number of workers, on earlier draws, or on where a run was
resumed. See docs/deviations.md, "Randomness of prompts".
"""

import hashlib

import numpy as np


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part, and on nothing else."""
    # The type belongs to the key, so that 1 and "1" differ.
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A new generator for a key, such as `generator(seed, "prompts", patch_id, epoch)`."""
    return np.random.Generator(np.random.Philox(seed_for(*parts)))
