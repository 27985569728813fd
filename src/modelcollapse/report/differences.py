"""Paired differences: what one setting does, chain by chain of equal seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from modelcollapse.families.presentation import Presentation, shown_metrics
from modelcollapse.report.groups import Cube, Group, last_part, value_text
from modelcollapse.report.possible import possible_values
from modelcollapse.report.states import ChainState
from modelcollapse.report.statistics import describe
from modelcollapse.report.tables import REPLICATES, frame, points_of, with_categories

DIFFERENCES_TAIL = (
    "generation",
    "metric",
    "n",
    "mean_difference",
    "standard_deviation",
    "low",
    "high",
    "interval",
)


@dataclass(frozen=True)
class Pair:
    """Two groups that differ in one coordinate."""

    setting: str
    first: Group
    second: Group

    @property
    def first_value(self) -> str:
        """The setting's value in the first group."""
        return value_text(self.first.coordinates[self.setting])

    @property
    def second_value(self) -> str:
        """The setting's value in the second group."""
        return value_text(self.second.coordinates[self.setting])

    @property
    def label(self) -> str:
        """What is subtracted from what, and where both stand."""
        setting = "" if "." not in self.setting else f"{last_part(self.setting)} "
        return f"{setting}{self.second_value} − {self.first_value}" + (f" ({self.elsewhere})" if self.elsewhere else "")

    @property
    def elsewhere(self) -> str:
        """The coordinates that both share."""
        shared = {name: value for name, value in self.first.coordinates.items() if name != self.setting}
        return ", ".join(
            value_text(value) if "." not in name else f"{last_part(name)}={value_text(value)}"
            for name, value in shared.items()
        )


def pairs_of(groups: Sequence[Group]) -> list[Pair]:
    """All pairs of groups that differ in one coordinate and share a seed: by that, and by where both stand."""
    pairs = []
    for first, second in combinations(groups, 2):
        differing = [name for name in first.coordinates if first.coordinates[name] != second.coordinates[name]]
        if len(differing) == 1 and _shared_seeds(first, second):
            pairs.append(Pair(differing[0], first, second))
    settings = [name for group in groups[:1] for name in group.coordinates]
    places = list(dict.fromkeys(pair.elsewhere for pair in pairs))
    return sorted(pairs, key=lambda pair: (settings.index(pair.setting), places.index(pair.elsewhere)))


def paired_differences(
    pairs: Sequence[Pair], cubes: Mapping[str, Cube], presentations: Mapping[str, Presentation]
) -> pd.DataFrame:
    """Second less first of two groups, chain by chain of equal seed, a row a pair, generation and metric.

    ``n`` seeds have a finite difference. What a seed does to both groups alike cancels, so that the interval is that of
    the effect of ``setting`` alone; chains of equal seed share generation 0, whose differences are then exactly 0.
    """
    frames = [_statistics(pair, PairedValues.of(pair, cubes), presentations) for pair in pairs]
    if not frames:
        return pd.DataFrame(columns=["setting", "first", "second", "elsewhere", *DIFFERENCES_TAIL])
    return with_categories(pd.concat(frames, ignore_index=True))


@dataclass(frozen=True)
class PairedValues:
    """Differences of the seeds that both groups of a pair have."""

    generations: np.ndarray
    """[G]"""
    metrics: Sequence[str]
    """[M]"""
    seeds: Sequence[int]
    """[S]"""
    values: np.ndarray
    """Second less first, [G, M, S]; NaN where one of both was not recorded."""
    recorded: np.ndarray
    """Whether both were, [G, M, S]."""

    @classmethod
    def of(cls, pair: Pair, cubes: Mapping[str, Cube]) -> PairedValues:
        """On the generations and metrics that both groups have."""
        left, right = cubes[pair.first.label], cubes[pair.second.label]
        generations = np.intersect1d(left.generations, right.generations)
        metrics = sorted(set(left.metrics) & set(right.metrics))
        seeds = _shared_seeds(pair.first, pair.second)
        left_recorded, left_values = _selected(left, pair.first, generations, metrics, seeds)
        right_recorded, right_values = _selected(right, pair.second, generations, metrics, seeds)
        with np.errstate(invalid="ignore"):
            return cls(generations, metrics, seeds, right_values - left_values, left_recorded & right_recorded)


def _statistics(pair: Pair, paired: PairedValues, presentations: Mapping[str, Presentation]) -> pd.DataFrame:
    first, second = (
        possible_values(paired.metrics, group, presentations[group.family]) for group in (pair.first, pair.second)
    )
    described = describe(paired.values, np.stack([second[:, 0] - first[:, 1], second[:, 1] - first[:, 0]], axis=1))
    rows, columns = np.nonzero(paired.recorded.any(axis=2))
    head = {
        "setting": pair.setting,
        "first": pair.first_value,
        "second": pair.second_value,
        "elsewhere": pair.elsewhere,
    }
    tail = {
        "generation": paired.generations[rows],
        "metric": np.asarray(paired.metrics, dtype=object)[columns],
        "n": described.n[rows, columns],
        "mean_difference": described.mean[rows, columns],
        "standard_deviation": described.standard_deviation[rows, columns],
        "low": described.low[rows, columns],
        "high": described.high[rows, columns],
        "interval": described.interval[rows, columns],
    }
    return frame(head, tail, len(rows))


def _selected(
    cube: Cube, group: Group, generations: np.ndarray, metrics: Sequence[str], seeds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the chosen were recorded, and their values, [G, M, S] each."""
    own = [chain.seed for chain in group.chains]
    where = np.ix_(
        np.searchsorted(cube.generations, generations),
        np.array([cube.metrics.index(name) for name in metrics], dtype=int),
        np.array([own.index(seed) for seed in seeds], dtype=int),
    )
    return cube.recorded[where], cube.values[where]


def _shared_seeds(first: Group, second: Group) -> list[int]:
    return sorted({chain.seed for chain in first.chains} & {chain.seed for chain in second.chains})


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


def headline_metrics(
    shown: pd.DataFrame, presentations: Mapping[str, Presentation], groups: Sequence[Group]
) -> dict[str, str]:
    """Metric -> column heading: those of ``metrics.shown``, or the family's; without any the first few metrics."""
    wanted: dict[str, str] = {}
    for group in groups:
        asked = group.chains[0].settings.get("metrics.shown") or ()
        wanted |= dict(shown_metrics(presentations[group.family].headline, asked))
    measured = set(shown["metric"].astype(str).unique())
    found = {name: heading for name, heading in wanted.items() if name in measured}
    return found or {name: name for name in sorted(measured)[:MOST_WITHOUT_HEADLINE]}


def last_generation(group: Group) -> int:
    """The last generation that all chains of the group have that have any."""
    return min(int(chain.measured.generations[-1]) for chain in group.chains if chain.measured.generations.size)


def headline_table(
    groups: Sequence[Group], shown: pd.DataFrame, points: pd.DataFrame, metrics: Mapping[str, str]
) -> pd.DataFrame:
    """A row a group as people read it: ``group``, ``generation``, ``seeds``, then a cell a metric.

    A cell is ``mean [low, high]``, or ``mean (value, value)`` of seeds that are too few for an interval.
    """
    rows = []
    for group in groups:
        last = last_generation(group)
        own = shown[(shown["group"] == group.label) & (shown["generation"] == last)].set_index("metric")
        of_group = points[(points["group"] == group.label) & (points["generation"] == last)]
        cells = _cells(own, "mean", metrics, of_group)
        rows.append({"group": group.label, "generation": last, "seeds": len(group.seeds), **cells})
    return pd.DataFrame(rows)


def differences_table(
    pairs: Sequence[Pair], differences: pd.DataFrame, cubes: Mapping[str, Cube], metrics: Mapping[str, str]
) -> pd.DataFrame:
    """A row a pair at its last common generation: ``difference``, ``generation``, ``seeds``, then each metric."""
    rows = []
    places = _places(differences)
    for pair in pairs:
        own = differences.iloc[places.get((pair.setting, pair.first_value, pair.second_value, pair.elsewhere), [])]
        own = own[own["n"] > 0]
        if own.empty:
            continue
        last = int(own["generation"].max())
        own = own[own["generation"] == last].set_index("metric")
        paired = PairedValues.of(pair, cubes)
        points = points_of(paired.generations, paired.metrics, np.array(paired.seeds), paired.values)
        cells = _cells(own, "mean_difference", metrics, points[points["generation"] == last])
        rows.append({"difference": pair.label, "generation": last, "seeds": int(own["n"].max()), **cells})
    return pd.DataFrame(rows)


def _cells(own: pd.DataFrame, mean: str, metrics: Mapping[str, str], points: pd.DataFrame) -> dict[str, str]:
    """Heading -> text of a row of statistics by metric; n is said where it is less than that of other cells."""
    rows: dict[Any, dict[Any, Any]] = own.to_dict("index")
    most: dict[Any, int] = {}
    for row in rows.values():
        most[row.get("over")] = max(row["n"], most.get(row.get("over"), 0))
    cells = {}
    for name, heading in metrics.items():
        row = rows.get(name, {"n": 0, mean: math.nan, "low": math.nan, "high": math.nan})
        single = [] if row.get("over") == REPLICATES else points.loc[points["metric"] == name, "value"].tolist()
        text = points_text(row[mean], single) if single else interval_text(row[mean], row["low"], row["high"])
        is_whole = row["n"] in (0, most.get(row.get("over")))
        cells[heading] = text if is_whole else f"{text}, n = {row['n']}"
    return cells


def _places(differences: pd.DataFrame) -> Mapping[Any, list[int]]:
    """Setting, both values and where both stand -> the rows of that pair."""
    keys = differences.groupby(["setting", "first", "second", "elsewhere"], sort=False, observed=True)
    return {pair: [int(row) for row in rows] for pair, rows in keys.indices.items()}


def interval_text(mean: float, low: float, high: float) -> str:
    """``34.1 [32.8, 35.4]``, or the mean alone where there is no interval.

    Rounded to two digits of the interval's half width, the mean to the same decimal place.
    """
    if not math.isfinite(mean):
        return "–"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean:.4g}"
    number_format = _rounded((high - low) / 2, max(abs(low), abs(high)))
    return f"{mean:{number_format}} [{low:{number_format}}, {high:{number_format}}]"


def points_text(mean: float, values: Sequence[float]) -> str:
    """``34.1 (33.0, 34.2, 35.1)``: the mean, and the few values that it is of, sorted.

    Rounded to two digits of their range.
    """
    number_format = _rounded((max(values) - min(values)) / 2, max(map(abs, values)))
    return f"{mean:{number_format}} ({', '.join(f'{value:{number_format}}' for value in sorted(values))})"


def _rounded(half: float, largest: float) -> str:
    """The format of numbers that are known to so much on both sides."""
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else _MOST_DECIMALS
    return f".{decimals}f" if decimals < _MOST_DECIMALS and largest < _MOST_WRITTEN_OUT else ".3g"


def unfinished(groups: Sequence[Group], states: Sequence[ChainState]) -> list[str]:
    """A sentence for every unfinished chain, and for every seed of other groups that a group lacks."""
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
