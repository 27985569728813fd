"""Tables of a report: all measurements, and their statistics over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from modelcollapse.families.presentation import Presentation
from modelcollapse.report.groups import Cube, Group, value_text
from modelcollapse.report.possible import possible_values
from modelcollapse.report.statistics import FEWEST, Description, describe, pool

SEEDS, REPLICATES = "seeds", "replicates of all seeds"
"""What a spread is over."""


def summary_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Everything measured, tidy: a row a chain, generation and metric.

    Columns: ``chain`` (its stable id), ``run``, ``sweep``, ``experiment``, ``family``, ``model``, ``regime``, ``seed``,
    the settings that differ between chains, ``generation``, ``metric``, ``value``. Words are categories.
    """
    frames = []
    for group in groups:
        for chain in group.chains:
            rows, columns = np.nonzero(chain.measured.recorded)
            head = {"chain": chain.identity["id"], "run": chain.run, **plain(group.columns), "seed": chain.seed}
            names = np.asarray(chain.measured.metrics, dtype=object)[columns]
            tail = {
                "generation": chain.measured.generations[rows],
                "metric": names,
                "value": chain.measured.values[rows, columns],
            }
            frames.append(frame(head, tail, len(rows)))
    return with_categories(pd.concat(frames, ignore_index=True))


def statistics_table(
    groups: Sequence[Group], cubes: Mapping[str, Cube], presentations: Mapping[str, Presentation]
) -> pd.DataFrame:
    """Statistics of every metric, a row a group, generation, metric and what the spread is over.

    ``n`` is the number of values. ``chains`` of the group recorded the metric; of these so many were ``nan`` or
    ``infinite``, and left out. Over seeds a value is a chain's metric. Over the replicates of all seeds, for
    ``X/mean`` of families whose chains are many replicates, a value is a replicate's X: see
    :func:`modelcollapse.report.statistics.pool`.
    ``low`` and ``high`` are the 95 % interval of the mean, ``interval`` says of what kind; see
    :mod:`modelcollapse.report.statistics`.
    """
    frames = []
    for group in groups:
        cube, head = cubes[group.label], {"group": group.label, **plain(group.columns)}
        possible = possible_values(cube.metrics, group, presentations[group.family])
        frames.append(_statistics(head, cube, describe(cube.values, possible), SEEDS))
        replicates = _replicates(group)
        if presentations[group.family].replicates and replicates > 1 and len(of_means := _measures(cube)):
            frames.append(_pooled(head, cube, of_means, replicates, possible))
    return with_categories(pd.concat(frames, ignore_index=True))


def _statistics(head: Mapping[str, Any], cube: Cube, described: Description, over: str) -> pd.DataFrame:
    rows, columns = np.nonzero(cube.recorded.any(axis=2))
    tail = {
        "generation": cube.generations[rows],
        "metric": np.asarray(cube.metrics, dtype=object)[columns],
        "over": over,
        "n": described.n[rows, columns],
        "chains": cube.recorded.sum(axis=2)[rows, columns],
        "nan": (cube.recorded & np.isnan(cube.values)).sum(axis=2)[rows, columns],
        "infinite": np.isinf(cube.values).sum(axis=2)[rows, columns],
        "mean": described.mean[rows, columns],
        "standard_deviation": described.standard_deviation[rows, columns],
        "low": described.low[rows, columns],
        "high": described.high[rows, columns],
        "interval": described.interval[rows, columns],
    }
    return frame(head, tail, len(rows))


def _pooled(
    head: Mapping[str, Any], cube: Cube, measures: Sequence[str], replicates: int, possible: np.ndarray
) -> pd.DataFrame:
    places = [cube.metrics.index(f"{measure}/mean") for measure in measures]
    spreads = [cube.metrics.index(f"{measure}/standard_deviation") for measure in measures]
    described = pool(cube.values[:, places], cube.values[:, spreads], replicates, possible[places])
    means = Cube(
        cube.generations, [cube.metrics[place] for place in places], cube.values[:, places], cube.recorded[:, places]
    )
    return _statistics(head, means, described, REPLICATES)


def _measures(cube: Cube) -> list[str]:
    names = set(cube.metrics)
    means = [name.removesuffix("/mean") for name in cube.metrics if name.endswith("/mean")]
    return [name for name in means if f"{name}/standard_deviation" in names]


def _replicates(group: Group) -> int:
    value = group.chains[0].settings.get("model.replicates", 1)
    return value if isinstance(value, int) else 1


def seed_points(groups: Sequence[Group], cubes: Mapping[str, Cube]) -> pd.DataFrame:
    """The values of single seeds where they are too few for an interval, but more than one.

    Columns: ``group``, ``generation``, ``metric``, ``seed``, ``value``.
    """
    frames = [pd.DataFrame({"group": [], "generation": [], "metric": [], "seed": [], "value": []})]
    for group in groups:
        cube, seeds = cubes[group.label], np.array([chain.seed for chain in group.chains])
        frames.append(points_of(cube.generations, cube.metrics, seeds, cube.values).assign(group=group.label))
    return with_categories(pd.concat(frames, ignore_index=True))


def points_of(generations: np.ndarray, metrics: Sequence[str], seeds: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """The finite ones of values [G, M, C] where there are from two to FEWEST - 1 of a generation and metric."""
    finite = np.isfinite(values)
    n = finite.sum(axis=2, keepdims=True)
    rows, columns, chains = np.nonzero(finite & (n > 1) & (n < FEWEST))
    return pd.DataFrame(
        {
            "generation": generations[rows],
            "metric": np.asarray(metrics, dtype=object)[columns],
            "seed": seeds[chains],
            "value": values[rows, columns, chains],
        }
    )


def shown_statistics(statistics: pd.DataFrame) -> pd.DataFrame:
    """One row a group, generation and metric: over all replicates where there is such a row, else over seeds."""
    pooled = statistics[statistics["over"] == REPLICATES]
    keys = ["group", "metric"]
    has_pooled = pd.MultiIndex.from_frame(statistics[keys]).isin(pd.MultiIndex.from_frame(pooled[keys]))
    return statistics[(statistics["over"] == REPLICATES) | ~has_pooled]


def plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a column of a table holds them: numbers and words; lists and nothing as text."""
    return {
        name: value if isinstance(value, (int, float, str)) else value_text(value) for name, value in columns.items()
    }


def frame(head: Mapping[str, Any], tail: Mapping[str, Any], rows: int) -> pd.DataFrame:
    """A table whose first columns are the same in every row."""
    return pd.DataFrame({**head, **tail}, index=range(rows))


def with_categories(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its words as categories, in the order of their first appearance: a tenth of the memory."""
    mixed = [name for name in table if table[name].dtype == object or pd.api.types.is_string_dtype(table[name])]
    for name in mixed:
        is_text = pd.api.types.infer_dtype(table[name], skipna=False) == "string"
        words = table[name].astype("str") if is_text else table[name].map(value_text)
        table[name] = pd.Categorical(words, categories=pd.unique(words))
    return table


PREFIX = "theory/"


def expectations(groups: Sequence[Group], presentations: Mapping[str, Presentation]) -> pd.DataFrame:
    """Columns ``group``, ``generation``, ``metric``, ``expected``; no rows where nothing is known.

    The table of any of a group's chains serves, since all expect the same; unfinished chains have none.
    """
    import pandas as pd

    frames = [pd.DataFrame({"group": [], "generation": [], "metric": [], "expected": []})]
    for group in groups:
        name = presentations[group.family].theory
        written = (chain for chain in group.chains if (chain.folder / f"{name}.parquet").is_file())
        if name is not None and (chain := next(written, None)) is not None:
            frames.append(_expected(chain.table(name)).assign(group=group.label))
    return pd.concat(frames, ignore_index=True)


def _expected(table: pd.DataFrame) -> pd.DataFrame:
    columns = [str(name) for name in table if str(name).startswith(PREFIX)]
    long = table[["generation", *columns]].melt("generation", var_name="metric", value_name="expected")
    long["metric"] = long["metric"].str.removeprefix(PREFIX) + "/mean"
    return long[np.isfinite(long["expected"])]
