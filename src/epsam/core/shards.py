"""Which slides fall to which of several machines: by name alone, so that each machine knows without
asking.
"""

import re
from dataclasses import dataclass

from epsam.core.errors import DatasetError
from epsam.core.seeding import seed_for


@dataclass(frozen=True)
class Shard:
    """Share `number` (1, 2, …) of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that `--shard i/n` names. Raises DatasetError unless 1 ≤ i ≤ n."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise DatasetError(
                f"--shard {text}: no share; give i/n with i from 1 to n, such as 2/3"
            )
        return shard

    def holds(self, name: str) -> bool:
        """Whether the slide of this name falls to the shard: a matter of the name, whatever other
        slides there are.
        """
        return seed_for("shard", name) % self.count == self.number - 1
