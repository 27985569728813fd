"""Paired differences: what one setting does, chain by chain of equal seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from modelcollapse.report.groups import Cube, Group, value_text
from modelcollapse.report.statistics import describe
from modelcollapse.report.tables import frame, with_categories

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
        setting = "" if "." not in self.setting else f"{self.setting.rpartition('.')[2]} "
        return f"{setting}{self.second_value} − {self.first_value}" + (f" ({self.elsewhere})" if self.elsewhere else "")

    @property
    def elsewhere(self) -> str:
        """The coordinates that both share."""
        shared = {name: value for name, value in self.first.coordinates.items() if name != self.setting}
        return ", ".join(
            value_text(value) if "." not in name else f"{name.rpartition('.')[2]}={value_text(value)}"
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


def paired_differences(pairs: Sequence[Pair], cubes: Mapping[str, Cube]) -> pd.DataFrame:
    """Second less first of two groups, chain by chain of equal seed, a row a pair, generation and metric.

    ``n`` seeds have a finite difference. What a seed does to both groups alike cancels, so that the interval is that of
    the effect of ``setting`` alone; chains of equal seed share generation 0, whose differences are then exactly 0.
    """
    frames = [_difference(pair, cubes) for pair in pairs]
    if not frames:
        return pd.DataFrame(columns=["setting", "first", "second", "elsewhere", *DIFFERENCES_TAIL])
    return with_categories(pd.concat(frames, ignore_index=True))


def _difference(pair: Pair, cubes: Mapping[str, Cube]) -> pd.DataFrame:
    left, right = cubes[pair.first.label], cubes[pair.second.label]
    generations = np.intersect1d(left.generations, right.generations)
    metrics = sorted(set(left.metrics) & set(right.metrics))
    seeds = _shared_seeds(pair.first, pair.second)
    told_left, values_left = _selected(left, pair.first, generations, metrics, seeds)
    told_right, values_right = _selected(right, pair.second, generations, metrics, seeds)
    with np.errstate(invalid="ignore"):
        described = describe(values_right - values_left)
    rows, columns = np.nonzero((told_left & told_right).any(axis=2))
    head = {
        "setting": pair.setting,
        "first": pair.first_value,
        "second": pair.second_value,
        "elsewhere": pair.elsewhere,
    }
    tail = {
        "generation": generations[rows],
        "metric": np.asarray(metrics, dtype=object)[columns],
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
    """Which of the chosen were told, and their values, [G, M, S] each."""
    own = [chain.seed for chain in group.chains]
    where = np.ix_(
        np.searchsorted(cube.generations, generations),
        np.array([cube.metrics.index(name) for name in metrics], dtype=int),
        np.array([own.index(seed) for seed in seeds], dtype=int),
    )
    return cube.told[where], cube.values[where]


def _shared_seeds(first: Group, second: Group) -> list[int]:
    return sorted({chain.seed for chain in first.chains} & {chain.seed for chain in second.chains})
