import numpy as np

from epsam.core.seeding import generator, seed_for


def test_every_part_of_the_key_counts_and_so_does_its_type():
    keys = [
        (1, "a"),
        (2, "a"),
        (1, "b"),
        ("1", "a"),
        (1, "a", 0),
        ("a", 1),
        (1, "a\x1fb"),
        (1, "a", "b"),
    ]
    assert len({seed_for(*key) for key in keys}) == len(keys)


def test_a_key_means_the_same_numbers_in_every_process():
    # Python's own hash() of text differs between processes; the seed is SHA-256 over
    # "int:1<US>str:a".
    import hashlib

    digest = hashlib.sha256(b"int:1\x1fstr:a").digest()
    assert seed_for(1, "a") == int.from_bytes(digest[:8], "big") >> 1


def test_earlier_draws_do_not_matter():
    first = generator(3, "x").random(4)
    generator(3, "y").random(100)
    assert np.array_equal(generator(3, "x").random(4), first)
