"""Histograms of a group's chains pooled into one, over bins that all groups and generations share.

A run keeps its distributions as counts in 64 bins between their extremes, so that pooled ones are rebinned: what a
recorded bin holds is spread evenly over it. A share is off by at most what lies in the recorded bins that a shared
bin's edges cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcollapse.models.presentation import Distribution
from modelcollapse.report.groups import Group
from modelcollapse.thinning import shown_generations

if TYPE_CHECKING:
    import pandas as pd

HISTOGRAMS_FILE = "histograms.jsonl"
BINS = 48
MOST_GENERATIONS = 16
OUTSIDE = 0.001
"""Share of everything recorded that may lie beyond either end of the axis."""
_FINE = 4000


@dataclass(frozen=True)
class PooledHistograms:
    """One distribution over groups and generations."""

    distribution: Distribution
    start: float
    """Lower edge of the first bin, in the unit that was recorded."""
    width: float
    """Of every bin."""
    shares: pd.DataFrame
    """``group``, ``generation``, ``bin``, ``share`` of all finite values of all seeds, also those beyond the axis."""
    real: np.ndarray | None
    """[BINS], the same of real data."""


def pooled_histograms(groups: Sequence[Group], distributions: Sequence[Distribution]) -> list[PooledHistograms]:
    """The distributions that any run has, each over the generations that a slider shows.

    Of a long chain at most ``MOST_GENERATIONS`` are taken, of those that it recorded.
    """
    recorded = {group.label: [chain.lines(HISTOGRAMS_FILE) for chain in group.chains] for group in groups}
    found = [_pooled(recorded, distribution) for distribution in distributions]
    return [one for one in found if one is not None]


def _pooled(recorded: dict[str, list[list[dict[str, Any]]]], distribution: Distribution) -> PooledHistograms | None:
    import pandas as pd

    lines = {
        label: [line for chain in chains for line in chain if line["name"] == distribution.name]
        for label, chains in recorded.items()
    }
    everything = [line for of_group in lines.values() for line in of_group if sum(line["counts"])]
    if not everything:
        return None
    shown = _shown({line["generation"] for line in everything})
    everything = [line for line in everything if line["generation"] in shown]
    edges = _shared_edges(everything)
    rows = []
    for label, of_group in lines.items():
        for generation in sorted({line["generation"] for line in of_group} & shown):
            shares = rebinned((line for line in of_group if line["generation"] == generation), edges)
            rows.append(pd.DataFrame({"group": label, "generation": generation, "bin": range(BINS), "share": shares}))
    real = [
        line
        for chains in recorded.values()
        for chain in chains
        for line in chain
        if line["name"] == distribution.real and line["generation"] == 0 and sum(line["counts"])
    ]
    return PooledHistograms(
        distribution=distribution,
        start=float(edges[0]),
        width=float(edges[1] - edges[0]),
        shares=pd.concat(rows, ignore_index=True),
        real=rebinned(real, edges) if real else None,
    )


def _shown(recorded: set[int]) -> set[int]:
    """At most MOST_GENERATIONS of the recorded generations, the first and the last among them."""
    ordered = sorted(recorded)
    if len(ordered) <= MOST_GENERATIONS:
        return recorded
    wanted = shown_generations(ordered[-1], MOST_GENERATIONS)
    places = np.abs(np.subtract.outer(np.array(sorted(wanted)), np.array(ordered))).argmin(axis=1)
    return {ordered[place] for place in places} | {ordered[0], ordered[-1]}


def _shared_edges(lines: Sequence[dict[str, Any]]) -> np.ndarray:
    """BINS bins of equal width that hold all but OUTSIDE of the recorded values at either end."""
    low = min(line["edges"][0] for line in lines)
    high = max(line["edges"][-1] for line in lines)
    fine = np.linspace(low, high, _FINE + 1)
    # Every generation counts alike, however many values it has.
    mass = np.cumsum(np.mean([rebinned([line], fine) for line in lines], axis=0))
    first = fine[int(np.searchsorted(mass, OUTSIDE))]
    last = fine[min(_FINE, int(np.searchsorted(mass, 1 - OUTSIDE)) + 1)]
    return np.linspace(first, max(last, first + 1e-9), BINS + 1)


def rebinned(lines: Iterable[dict[str, Any]], edges: np.ndarray) -> np.ndarray:
    """Share of all values of the recorded histograms in each of other bins, [len(edges) - 1]."""
    inside, total = np.zeros(len(edges) - 1), 0
    for line in lines:
        reached = np.concatenate([[0], np.cumsum(line["counts"])])
        inside += np.diff(np.interp(edges, line["edges"], reached))
        total += int(reached[-1])
    return inside / total if total else inside
