import pytest

from epsam.core.errors import DatasetError
from epsam.core.shards import Shard


def test_every_slide_falls_to_exactly_one_shard():
    names = [f"slide_{number}" for number in range(300)]
    held = [[name for name in names if Shard(number, 3).holds(name)] for number in (1, 2, 3)]
    assert sorted(name for part in held for name in part) == sorted(names)
    assert all(60 < len(part) < 140 for part in held)


def test_a_slides_shard_is_a_matter_of_its_name():
    # The first 8 bytes of SHA-256("str:shard␟str:tumor_001"), worked out with sha256sum, halved,
    # modulo 7.
    assert [number for number in range(1, 8) if Shard(number, 7).holds("tumor_001")] == [6]


@pytest.mark.parametrize("text", ["0/3", "4/3", "a/3", "3", "1/0", "-1/3", "1/3/5"])
def test_a_malformed_shard_is_refused(text):
    with pytest.raises(DatasetError, match="give i/n"):
        Shard.parse(text)


def test_a_share_is_read():
    assert Shard.parse("2/3") == Shard(2, 3)
