"""What is known of a slide as a whole: `normal`, `partial`, or nothing, from tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.extraction.splits import normalize_slide_name

NORMAL, PARTIAL = "normal", "partial"
LABEL_TABLE = "slide_labels.csv"
"""In the folder of a dataset: columns slide and label. In this project's folder of tables: also
dataset and reason, and a slide may be a pattern such as normal_*.
"""


@dataclass(frozen=True)
class SlideLabel:
    """`normal`: the slide holds no tumour. `partial`: not all of its tumour is annotated. Empty:
    nothing is said. `reason`: who says so.
    """

    label: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SlideLabels:
    """Labels of slides by name, and the rules of a dataset as (pattern of a name, label)."""

    by_slide: Mapping[str, SlideLabel] = field(default_factory=dict)
    rules: Sequence[tuple[str, SlideLabel]] = ()

    def find(self, slide: str) -> SlideLabel:
        """The label of a slide; a table of the user wins over the rules of the dataset."""
        if slide in self.by_slide:
            return self.by_slide[slide]
        for pattern, label in self.rules:
            if fnmatchcase(slide, pattern):
                return label
        return SlideLabel()


def load_slide_labels(folder: Path, rules: Sequence[tuple[str, SlideLabel]] = ()) -> SlideLabels:
    """The labels of splits.csv and slide_labels.csv in the folder of a dataset, and its rules.

    Raises DatasetError if the two tables contradict each other, or if one has another label.
    """
    labels: dict[str, SlideLabel] = {}
    for table in (folder / "splits.csv", folder / LABEL_TABLE):
        if not table.is_file():
            continue
        for slide, label in read_labels(table).items():
            earlier = labels.setdefault(slide, SlideLabel(label, f"by {table.name}"))
            if earlier.label != label:
                raise DatasetError(
                    f"{table}: {slide} is {label}, but {earlier.label} {earlier.reason}; keep one"
                )
    return SlideLabels(labels, rules)


def read_labels(table: Path) -> dict[str, str]:
    """Slide → label from the optional column `label` of a table.

    Slides without a label are left out. Raises DatasetError on another label.
    """
    labels = {}
    for number, row in enumerate(read_table(table, ("slide",)), start=2):
        label = row.get("label", "").strip()
        if label not in ("", NORMAL, PARTIAL):
            raise DatasetError(
                f"{table} line {number}: label {label!r}; write normal, partial or nothing"
            )
        if label:
            labels[normalize_slide_name(row["slide"].strip())] = label
    return labels


def read_label_rules(tables: Path, dataset: str) -> list[tuple[str, SlideLabel]]:
    """This project's rules for one dataset, from its folder of tables; none without the table."""
    table = tables / LABEL_TABLE
    if not table.is_file():
        return []
    rules = []
    for row in read_table(table, ("dataset", "slide", "label", "reason")):
        if row["dataset"] == dataset:
            rules.append((row["slide"], SlideLabel(row["label"], row["reason"])))
    return rules
