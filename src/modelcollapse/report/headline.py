"""What a report says first: the last generation of every group, and which chains are not finished."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from modelcollapse.models.presentation import Presentation
from modelcollapse.report.differences import Pair
from modelcollapse.report.groups import Group
from modelcollapse.report.states import ChainState

MOST_WITHOUT_HEADLINE = 4
_MOST_DECIMALS, _MOST_WRITTEN_OUT = 7, 1e7


def metric_names(shown: pd.DataFrame, presentations: Mapping[str, Presentation]) -> dict[str, str]:
    """Metric -> what it is called: the headline first, then what panels show, then the rest by name."""
    measured = dict.fromkeys(sorted(shown["metric"].astype(str).unique()))
    named = {name: heading for one in presentations.values() for name, heading in one.headline}
    for presentation in presentations.values():
        for name, label in presentation.labels.items():
            # Labels of figures may be formulas, which a page cannot show.
            named.setdefault(name, name if "$" in label else label.replace("\n", " "))
    ordered = {name: label for name, label in named.items() if name in measured}
    return ordered | {name: name for name in measured if name not in ordered}


def headline_metrics(shown: pd.DataFrame, presentations: Mapping[str, Presentation]) -> dict[str, str]:
    """Metric -> column heading; of a family without a headline the first few metrics."""
    wanted = {name: heading for one in presentations.values() for name, heading in one.headline}
    measured = set(shown["metric"].astype(str).unique())
    found = {name: heading for name, heading in wanted.items() if name in measured}
    return found or {name: name for name in sorted(measured)[:MOST_WITHOUT_HEADLINE]}


def last_generation(group: Group) -> int:
    """The last generation that all chains of the group have that have any."""
    return min(int(chain.measured.generations[-1]) for chain in group.chains if chain.measured.generations.size)


def headline_table(groups: Sequence[Group], shown: pd.DataFrame, metrics: Mapping[str, str]) -> pd.DataFrame:
    """A row a group as people read it: ``group``, ``generation``, ``seeds``, ``mean [low, high]`` of each metric."""
    rows = []
    for group in groups:
        last = last_generation(group)
        own = shown[(shown["group"] == group.label) & (shown["generation"] == last)].set_index("metric")
        cells = _cells(own, "mean", metrics)
        rows.append({"group": group.label, "generation": last, "seeds": len(group.seeds), **cells})
    return pd.DataFrame(rows)


def differences_table(pairs: Sequence[Pair], differences: pd.DataFrame, metrics: Mapping[str, str]) -> pd.DataFrame:
    """A row a pair at its last common generation: ``difference``, ``generation``, ``seeds``, then each metric."""
    rows = []
    for pair in pairs:
        own = _rows_of(pair, differences)
        own = own[own["n"] > 0]
        if own.empty:
            continue
        last = int(own["generation"].max())
        own = own[own["generation"] == last].set_index("metric")
        cells = _cells(own, "mean_difference", metrics)
        rows.append({"difference": pair.label, "generation": last, "seeds": int(own["n"].max()), **cells})
    return pd.DataFrame(rows)


def _cells(own: pd.DataFrame, mean: str, metrics: Mapping[str, str]) -> dict[str, str]:
    """Heading -> text of a row of statistics by metric; n is said where it is less than that of other cells."""
    rows: dict[Any, dict[Any, Any]] = own.to_dict("index")
    most: dict[Any, int] = {}
    for row in rows.values():
        most[row.get("over")] = max(row["n"], most.get(row.get("over"), 0))
    cells = {}
    for name, heading in metrics.items():
        row = rows.get(name, {"n": 0, mean: math.nan, "low": math.nan, "high": math.nan})
        text = interval_text(row[mean], row["low"], row["high"])
        is_whole = row["n"] in (0, most.get(row.get("over")))
        cells[heading] = text if is_whole else f"{text}, n = {row['n']}"
    return cells


def _rows_of(pair: Pair, differences: pd.DataFrame) -> pd.DataFrame:
    here = (
        (differences["setting"] == pair.setting)
        & (differences["first"] == pair.first_value)
        & (differences["second"] == pair.second_value)
        & (differences["elsewhere"] == pair.elsewhere)
    )
    return differences[here]


def interval_text(mean: float, low: float, high: float) -> str:
    """``34.1 [32.8, 35.4]``, or the mean alone where there is no interval.

    Two digits of the interval's half are told, and no more of the mean.
    """
    if not math.isfinite(mean):
        return "–"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean:.4g}"
    decimals = max(0, 1 - math.floor(math.log10((high - low) / 2))) if high > low else _MOST_DECIMALS
    told = f".{decimals}f" if decimals < _MOST_DECIMALS and max(abs(low), abs(high)) < _MOST_WRITTEN_OUT else ".3g"
    return f"{mean:{told}} [{low:{told}}, {high:{told}}]"


def unfinished(groups: Sequence[Group], states: Sequence[ChainState]) -> list[str]:
    """A sentence for every chain that is not finished, and for seeds of other groups that nobody asked a group for."""
    sentences = [state.sentence for state in states if not state.finished]
    everywhere = {(chain.sweep, chain.seed) for group in groups for chain in group.chains}
    for group in groups:
        # What a grid was to hold is known; runs in a folder are compared among each other.
        if any(state.cell for state in states if state.group == group.label):
            continue
        own = {(group.columns["sweep"], chain.seed) for chain in group.chains}
        lacking = sorted(seed for sweep, seed in everywhere - own if sweep == group.columns["sweep"])
        if lacking:
            sentences.append(f"{group.label}: no chain of seed {ranges(lacking)}, which other groups have")
    return sentences


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as ``0, 3-7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
