"""Named flag sets, one a line, as ablate.sh lists them."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from epsam.ablation.paper_tables import TABLES
from epsam.core.errors import EpsamError
from epsam.pipeline import STAGES, training_stages
from epsam.recipes import EP_SAM, RECIPES

FLAGS = (
    *(stage.flags_variable for stage in STAGES.values() if stage.trains),
    STAGES["evaluate"].flags_variable,
)
ENDS = tuple(stage.until for stage in training_stages() if stage.until)
_KEYS = (*FLAGS, "UNTIL", "METHOD", "FROM")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class AblationRow:
    """One line of the list.

    flags: by name of FLAGS, those that it adds to the stage. until: the name in ENDS of the stage
    it ends with; "rounds" for the last one of any method. recipe: METHOD of train.sh. source: the
    row whose runs have the pseudo-labels that it learns from; "" if it needs none.
    """

    name: str
    flags: dict[str, list[str]]
    until: str = "rounds"
    recipe: str = EP_SAM
    source: str = ""

    @property
    def flag_text(self) -> str:
        """The flags as they were written, without repeating those that retraining takes from the
        preliminary stage.
        """
        # dict.fromkeys drops repeats and keeps the order.
        texts = [] if self.recipe == EP_SAM else [f"METHOD={self.recipe}"]
        texts += [" ".join(words) for words in self.flags.values() if words]
        return " ".join(dict.fromkeys(texts))


def read_rows(text: str) -> list[AblationRow]:
    """The rows of lines such as `name MASK_FLAGS="--rotations 1"`; comments after a # and empty
    lines are left out.

    As in train.sh, RETRAIN_FLAGS are DECODER_FLAGS unless they are given.
    UNTIL=masks|preliminary|rounds names the last stage of a row's runs, METHOD=<name> another
    method than EP-SAM, FROM=<row> the row that a method takes pseudo-labels from. Raises EpsamError
    that names the line if it cannot be parsed or its name occurred before.
    """
    rows: list[AblationRow] = []
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise EpsamError(f"row «{line.strip()}»: {error}; close the quotation marks") from error
        if words:
            rows.append(_parse_row(line.strip(), words))

    names = [row.name for row in rows]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise EpsamError(f"row {duplicates[0]}: there are two of that name; rename one")
    for row in rows:
        if row.source and row.source not in names:
            raise EpsamError(
                f"row {row.name}: FROM={row.source} is no row of the list; name one that trains "
                "pseudo-labels, such as FROM=paper"
            )
    return rows


def select_rows(rows: Sequence[AblationRow], only: Sequence[str]) -> list[AblationRow]:
    """The rows named in `only`, in the order of the list; all of them if it is empty.

    `table_2` … `table_6` stand for the rows of a table of the paper. Raises EpsamError if there is
    no row of a name.
    """
    names = [row.name for row in rows]
    rows_of_tables = _rows_of_tables()
    chosen: set[str] = set()
    for name in only:
        if name in rows_of_tables:
            chosen |= rows_of_tables[name]
        elif name in names:
            chosen.add(name)
        else:
            raise EpsamError(
                f"row {name}: not in the list; there are {', '.join(names)}, and "
                f"{', '.join(rows_of_tables)} for the rows of a table"
            )
    return [row for row in rows if not only or row.name in chosen]


def _rows_of_tables() -> dict[str, set[str]]:
    """`table_2` … `table_6` → the names of the table's rows."""
    rows_of_tables = {}
    for table in TABLES:
        rows_of_tables[f"table_{table.number}"] = {line.row for line in table.lines}
    return rows_of_tables


def _parse_row(line: str, words: list[str]) -> AblationRow:
    name, *assignments = words
    values = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        values[key] = value

    until = values.get("UNTIL", "rounds")
    has_unknown_key = not values.keys() <= {*_KEYS}
    if not _NAME.fullmatch(name) or has_unknown_key or until not in ENDS:
        raise EpsamError(
            f"row «{line}»: a name and some of {', '.join(FLAGS)}, UNTIL={'|'.join(ENDS)}, METHOD, "
            "FROM expected"
        )
    recipe = values.get("METHOD", EP_SAM)
    if recipe not in RECIPES:
        raise EpsamError(f"row «{line}»: no such METHOD; use {', '.join(RECIPES)}")

    # As in train.sh: without flags of its own, retraining is like the preliminary stage.
    flags = {key: shlex.split(values.get(key, "")) for key in FLAGS}
    if "RETRAIN_FLAGS" not in values:
        flags["RETRAIN_FLAGS"] = flags["DECODER_FLAGS"]
    return AblationRow(name, flags, until, recipe, values.get("FROM", ""))
