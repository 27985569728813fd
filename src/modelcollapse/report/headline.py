"""What a report says first: the last generation of every group, and which chains are not finished."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from modelcollapse.models.presentation import Presentation
from modelcollapse.report.differences import Pair
from modelcollapse.report.groups import Group

MOST_WITHOUT_HEADLINE = 4


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
        cells = {
            heading: interval_text(*own.loc[name, ["mean", "low", "high"]]) if name in own.index else "–"
            for name, heading in metrics.items()
        }
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
        cells = {
            heading: interval_text(*own.loc[name, ["mean_difference", "low", "high"]]) if name in own.index else "–"
            for name, heading in metrics.items()
        }
        rows.append({"difference": pair.label, "generation": last, "seeds": int(own["n"].max()), **cells})
    return pd.DataFrame(rows)


def _rows_of(pair: Pair, differences: pd.DataFrame) -> pd.DataFrame:
    here = (
        (differences["setting"] == pair.setting)
        & (differences["first"] == pair.first_value)
        & (differences["second"] == pair.second_value)
        & (differences["elsewhere"] == pair.elsewhere)
    )
    return differences[here]


def interval_text(mean: float, low: float, high: float) -> str:
    """``34.1 [33.2, 35.0]``, or the mean alone where there is no interval."""
    if not math.isfinite(mean):
        return "–"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean:.4g}"
    return f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def unfinished(groups: Sequence[Group]) -> list[str]:
    """A sentence for every chain that lacks generations, and every group that lacks seeds which others have."""
    sentences = []
    everywhere = {(group.columns["sweep"], chain.seed) for group in groups for chain in group.chains}
    for group in groups:
        for chain in group.chains:
            if chain.missing:
                sentences.append(
                    f"{group.label}, seed {chain.seed} ({chain.run}): {chain.identity.get('status', 'unknown')}, lacks"
                    f" generation{'s' if len(chain.missing) > 1 else ''} {ranges(chain.missing)}"
                )
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
