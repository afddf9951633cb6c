"""The random generators of prompts, keyed by what a patch shows.

The same pixels get the same prompt under any file name, in evaluation as in inference
(docs/deviations.md, "Randomness of prompts").
"""

from collections.abc import Sequence

import numpy as np

from epsam.core.seeding import generator


def prompt_generators(
    key: Sequence[int | str], digests: Sequence[str], transform: int, sample: int
) -> list[np.random.Generator]:
    """A generator for each patch of a batch, by its `digest_of_image`.

    key: seed and perhaps round. transform, sample: of test-time augmentation.
    """
    # The first sample of the identity has the key of a run without test-time augmentation, so that
    # more samples or transforms only add to its prompts.
    is_first = (transform, sample) == (0, 0)
    variant = () if is_first else ("variant", transform, sample)
    return [generator(*key, "pepm", digest, *variant) for digest in digests]
