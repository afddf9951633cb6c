"""Named flag sets, one a line, as ablate.sh lists them."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from epsam.core.errors import EpsamError

FLAGS = ("CLASSIFIER_FLAGS", "MASK_FLAGS", "DECODER_FLAGS", "RETRAIN_FLAGS")
ENDS = ("masks", "preliminary", "rounds")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Row:
    """One line: its name, the flags that it adds to each stage, and the stage with which it
    ends.
    """

    name: str
    flags: dict[str, list[str]]
    until: str = "rounds"

    @property
    def shown(self) -> str:
        """The flags as they were written, without repeating those that retraining takes from the
        preliminary stage.
        """
        return " ".join(dict.fromkeys(" ".join(words) for words in self.flags.values() if words))


def read_rows(text: str) -> list[Row]:
    """The rows of lines such as `name MASK_FLAGS="--rotations 1"`; what follows a # and empty lines
    are left out.

    As in train.sh, RETRAIN_FLAGS are DECODER_FLAGS unless they are given.
    UNTIL=masks|preliminary|rounds ends early. Raises EpsamError that names the line if it cannot be
    understood or its name was there before.
    """
    rows: list[Row] = []
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise EpsamError(f"row «{line.strip()}»: {error}; close the quotation marks") from error
        if words:
            rows.append(_row(line.strip(), words))
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EpsamError(f"row {twice[0]}: there are two of that name; rename one")
    return rows


def select_rows(rows: Sequence[Row], only: Sequence[str]) -> list[Row]:
    """The rows named in `only`, in the order of the list; all of them if it is empty.

    Raises EpsamError if there is no row of a name.
    """
    unknown = [name for name in only if name not in {row.name for row in rows}]
    if unknown:
        raise EpsamError(
            f"row {unknown[0]}: not in the list; there are {', '.join(row.name for row in rows)}"
        )
    return [row for row in rows if not only or row.name in only]


def _row(line: str, words: list[str]) -> Row:
    name, *settings = words
    values = dict(word.partition("=")[::2] for word in settings)
    strange = [key for key in values if key not in (*FLAGS, "UNTIL")]
    if not _NAME.fullmatch(name) or strange or values.get("UNTIL", "rounds") not in ENDS:
        raise EpsamError(
            f"row «{line}»: a name and some of {', '.join(FLAGS)}, UNTIL={'|'.join(ENDS)} expected"
        )
    flags = {key: shlex.split(values.get(key, "")) for key in FLAGS}
    if "RETRAIN_FLAGS" not in values:
        flags["RETRAIN_FLAGS"] = flags["DECODER_FLAGS"]
    return Row(name, flags, values.get("UNTIL", "rounds"))
