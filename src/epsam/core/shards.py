"""Distribute slides, or patches, over several machines by their names, so that no machine needs the
others.
"""

import re
from dataclasses import dataclass

from epsam.core.errors import DatasetError
from epsam.core.seeding import seed_for


@dataclass(frozen=True)
class Shard:
    """Shard `number` (1, 2, …) of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard of `--shard i/n`. Raises DatasetError unless 1 ≤ i ≤ n."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise DatasetError(
                f"--shard {text}: no shard; give i/n with i from 1 to n, such as 2/3"
            )
        return shard

    def holds(self, name: str) -> bool:
        """Whether the slide or patch of this name is in the shard, whatever others there are."""
        return seed_for("shard", name) % self.count == self.number - 1
