"""slides.csv: what became of every slide, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence

from epsam.extraction.candidates import ScoredSlide
from epsam.extraction.discovery import FAILED, UNUSED, USED, SlideRecord


def slide_table_rows(
    records: Sequence[SlideRecord],
    measured: Sequence[ScoredSlide],
    patches: Sequence[Mapping[str, object]],
    errors: Mapping[str, str],
) -> list[dict[str, object]]:
    """One row a slide. `patches` are the rows of patches.csv, `errors` the slides that failed in
    any step.
    """
    by_name = {found.record.name: found for found in measured}
    chosen = Counter((patch["slide"], patch["label"]) for patch in patches)
    rows = []
    for record in records:
        name, found = record.name, by_name.get(record.name)
        row: dict[str, object] = {
            "slide": name,
            "split": record.split,
            "status": record.status,
            "reason": record.reason,
        }
        if name in errors:
            row.update(status=FAILED, reason=errors[name])
        elif found is not None and record.status == USED:
            row.update(
                _counts(found), chosen_positives=chosen[name, 1], chosen_negatives=chosen[name, 0]
            )
            status, reason = _outcome(found, chosen[name, 1] + chosen[name, 0])
            row.update(
                status=status,
                reason="; ".join(part for part in (record.reason, *found.notes, reason) if part),
            )
        rows.append(row)
    return rows


def _counts(found: ScoredSlide) -> dict[str, object]:
    return {
        "mpp": f"{found.mpp:.4f}" if found.mpp else "",
        "windows": found.windows,
        "positives": len(found.positives or ()),
        "negatives": len(found.negatives or ()),
    }


def _outcome(found: ScoredSlide, chosen: int) -> tuple[str, str]:
    if chosen:
        return USED, ""
    if found.positives or found.negatives:
        return UNUSED, "none of its windows was drawn"
    return (
        UNUSED,
        "no window with enough tumour or with enough tissue free of it; lower --min_tumour or --min_tissue",
    )
