"""What became of every slide of a dataset: the rows of slides.csv, and whether enough is left."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.core.errors import DatasetError, SlideError
from epsam.core.files import write_table
from epsam.extraction.candidates import ScoredSlide
from epsam.extraction.discovery import FAILED, INCLUDED, UNUSED, SlideRecord
from epsam.extraction.write_patches import PatchRow, WrittenPatches
from epsam.tables import SLIDE_COLUMNS

log = logging.getLogger(__name__)


@dataclass
class SlideOutcomes:
    """Collects scores, patches and errors, slide by slide, while a dataset is extracted.

    `scored`: slide → its candidates; `patches`: the rows of patches.csv; `errors`: slide → why it
    failed, in the order in which slides did.
    """

    records: Sequence[SlideRecord]
    scored: dict[str, ScoredSlide] = field(default_factory=dict)
    patches: list[PatchRow] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for record in self.records:
            if record.status == FAILED:
                self.errors[record.name] = record.reason

    def add_scored(self, slides: Sequence[ScoredSlide]) -> None:
        for slide in slides:
            self.scored[slide.record.name] = slide
            self._add_error(slide.record.name, slide.error)

    def add_written(self, written: WrittenPatches) -> None:
        self.patches += written.rows
        self._add_error(written.slide, written.error)

    def _add_error(self, slide: str, error: str) -> None:
        if error:
            self.errors[slide] = error
            log.info("  failed %s: %s", slide, error)

    def check_failures(self, strict: bool) -> None:
        """Raise SlideError if no usable slide is left, or if any failed and the run is strict."""
        if self.errors and strict:
            raise SlideError(
                f"{len(self.errors)} slides failed ({', '.join(sorted(self.errors)[:5])}); see "
                "slides.csv or pass --no-strict"
            )
        # Also true if no slide was scored at all.
        if all(slide.error for slide in self.scored.values()):
            first = f", first {next(iter(self.errors.values()))}" if self.errors else ""
            raise SlideError(f"no usable slide: {len(self.errors)} failed{first}; see slides.csv")

    def check_both_classes(self) -> None:
        """Raise DatasetError if a split lost its positives or negatives to slides that failed."""
        present = {(patch["split"], patch["label"]) for patch in self.patches}
        for split in SPLITS:
            for label, kind in ((1, "positive"), (0, "negative")):
                if (split, label) not in present:
                    raise DatasetError(
                        f"{split}: no {kind} is left after {len(self.errors)} slides failed; see "
                        "slides.csv"
                    )

    def write_slide_table(self, target: Path) -> None:
        """Write slides.csv: one row for each record."""
        n_patches = Counter((patch["slide"], patch["label"]) for patch in self.patches)
        rows = []
        for record in self.records:
            n_positives, n_negatives = n_patches[record.name, 1], n_patches[record.name, 0]
            rows.append(self._slide_row(record, n_positives, n_negatives))
        write_table(target, SLIDE_COLUMNS, rows)

    def _slide_row(
        self, record: SlideRecord, n_positives: int, n_negatives: int
    ) -> dict[str, object]:
        row: dict[str, object] = {
            "slide": record.name,
            "split": record.split,
            "status": record.status,
            "reason": record.reason,
        }
        if record.name in self.errors:
            return row | {"status": FAILED, "reason": self.errors[record.name]}
        slide = self.scored.get(record.name)
        # Not scored: not used from the start, or the run ended before.
        if slide is None or record.status != INCLUDED:
            return row

        status, reason = _judge_slide(slide, n_positives + n_negatives)
        reasons = [part for part in (record.reason, *slide.notes, reason) if part]
        return row | {
            "status": status,
            "reason": "; ".join(reasons),
            "mpp": f"{slide.patch_mpp:.4f}" if slide.patch_mpp else "",
            "windows": slide.n_tiles,
            "positives": len(slide.positives),
            "negatives": len(slide.negatives),
            "chosen_positives": n_positives,
            "chosen_negatives": n_negatives,
        }


def _judge_slide(slide: ScoredSlide, n_patches: int) -> tuple[str, str]:
    """The status of a slide that was scored, and the reason for it if it gave no patch."""
    # Reasons are values of slides.csv and keep their wording, as scripts of users may match it.
    if n_patches:
        return INCLUDED, ""
    if len(slide.positives) or len(slide.negatives):
        return UNUSED, "none of its windows was drawn"
    return (
        UNUSED,
        "no window with enough tumour or with enough tissue free of it; lower --min_tumour or "
        "--min_tissue",
    )
