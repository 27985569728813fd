"""The confusion table of a selection as people read it, of the metrics that a run records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

CONFUSION_FILE = "confusion.md"
CELLS = {
    "right_kept": "right, kept",
    "right_not_kept": "right, not kept",
    "wrong_kept": "wrong, kept",
    "wrong_not_kept": "wrong, not kept",
}
"""Metric without its prefix -> what is counted."""
RATES = ("true positive rate", "false positive rate")
CONFUSION_MEANING = (
    "Candidates that are right or wrong, and were kept or not. The true positive rate is the share of the right ones"
    " that was kept, the false positive rate that of the wrong ones. Means, of several replicates or members."
)


def confusion_row(metrics: Mapping[str, float]) -> dict[str, str] | None:
    """Heading -> text, the counts and then both rates; None where the metrics of the generation hold no such counts.

    Rates are of the counts shown: of several replicates those of all their candidates together.
    """
    counts = {name: _count(metrics, name) for name in CELLS}
    if not all(map(math.isfinite, counts.values())):
        return None
    decimals = 0 if all(count.is_integer() for count in counts.values()) else 1
    rates = (
        _rate(counts["right_kept"], counts["right_not_kept"]),
        _rate(counts["wrong_kept"], counts["wrong_not_kept"]),
    )
    return {
        **{heading: f"{counts[name]:,.{decimals}f}" for name, heading in CELLS.items()},
        **dict(zip(RATES, rates, strict=True)),
    }


def _count(metrics: Mapping[str, float], name: str) -> float:
    """The count of a generation, or its mean over replicates; NaN where it was not recorded."""
    flat = f"selection/{name}"
    return float(metrics.get(flat, metrics.get(f"{flat}/mean", math.nan)))


def _rate(kept: float, not_kept: float) -> str:
    return f"{kept / (kept + not_kept):.3f}" if kept + not_kept else "–"


def confusion_document(generations: Sequence[tuple[int, Mapping[str, float]]], title: str) -> str | None:
    """A page of Markdown with a row a generation, each given with its metrics; None where nothing is known of any."""
    found = [(number, row) for number, metrics in generations if (row := confusion_row(metrics)) is not None]
    if not found:
        return None
    headings = ["generation", *found[0][1]]
    rows = [[str(number), *row.values()] for number, row in found]
    lines = [headings, ["---:"] * len(headings), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"# What the selection kept\n\n{title}\n\n{CONFUSION_MEANING}\n\n{table}\n"
