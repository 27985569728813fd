"""The collapse profile: which of the definitions of collapse hold for a group of chains, and since when.

Schaeffer et al. 2025 (arXiv 2503.03150) find eight definitions in use, so a table says of each what was measured. All
are judged against generation 0 of the same seed, over seeds, by the 95 % interval of the mean: a definition *holds*
where the whole interval is beyond its threshold, is *absent* where none of it is, and else is *open*.

Where a group has a control, the same chains under ``regime=real``, a metric has *moved* at the first of two generations
in a row at which its difference to the control, seed by seed, has an interval beyond 0, on the side of a collapse. What
moves before the test risk is an early warning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modelcollapse.families.presentation import DEFINITIONS, OF_THE_RISK, Presentation, Symptom
from modelcollapse.report.differences import Pair, PairedValues, interval_text, last_generation
from modelcollapse.report.groups import Cube, Group
from modelcollapse.report.possible import possible_values
from modelcollapse.report.statistics import FEWEST, describe

CATASTROPHE = 2.0
"""The test risk of the last generation over that of generation 0, from which on its rise is called catastrophic."""
CONTROL = "real"
"""The regime of a control."""
IN_A_ROW = 2
"""Generations that a metric must be beyond its control."""
FEWEST_GENERATIONS = 4
"""Generations after the first, below which there is no slope."""
HOLDS, ABSENT, OPEN, TOO_FEW, NOT_ASSESSED = "holds", "absent", "open", f"fewer than {FEWEST} seeds", "not assessed"
COLUMNS = (
    "group", "definition", "metric", "generation", "n", "change", "low", "high", "threshold", "verdict", "moved_at",
    "ahead_of_risk",
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A metric that a definition is judged by."""

    definition: str
    metric: str
    falls: bool

    @property
    def threshold(self) -> float:
        """The change beyond which the definition holds."""
        return CATASTROPHE if self.definition == "catastrophe" else 0.0

    def change(self, generations: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The change of each seed [S] in the direction of a collapse, of values [G, S] at generations [G].

        Catastrophe: the last value over the first one. Divergence: the least-squares slope, a generation, over the last
        half of the generations; NaN where there are too few. All others: the last value less the first.
        """
        if self.definition == "catastrophe":
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(values[0] * values[-1] > 0, values[-1] / values[0], np.nan)
        toward = -1.0 if self.falls else 1.0
        if self.definition == "divergence":
            return toward * _slopes(generations, values)
        return toward * (values[-1] - values[0])

    def possible_change(self, possible: tuple[float, float]) -> tuple[float, float]:
        """Smallest and largest possible change of a metric of these possible values."""
        if self.definition == "catastrophe":
            return 0.0, math.inf
        width = possible[1] - possible[0] if self.definition != "divergence" else math.inf
        return -width, width


def _slopes(generations: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least-squares slopes [S] of the last half of the generations."""
    if generations[-1] - generations[0] < FEWEST_GENERATIONS:
        return np.full(values.shape[1], np.nan)
    later = generations >= (generations[0] + generations[-1]) / 2
    centred = generations[later] - generations[later].mean()
    return np.asarray(centred @ values[later] / (centred @ centred))


def judged(symptoms: Sequence[Symptom]) -> list[Judged]:
    """The metrics of a family, in the order of the definitions."""
    found = [
        Judged(name, symptom.metric, symptom.falls)
        for symptom in symptoms
        for name in (OF_THE_RISK if symptom.definition == "risk" else (symptom.definition,))
    ]
    return sorted(found, key=lambda one: list(DEFINITIONS).index(one.definition))


def collapse_profile(
    groups: Sequence[Group], cubes: Mapping[str, Cube], presentations: Mapping[str, Presentation]
) -> pd.DataFrame:
    """A row a group, definition and metric; none of families that name no symptoms.

    ``change`` is the mean over ``n`` seeds of what :meth:`Judged.change` says, from generation 0 to ``generation``,
    with its 95 % interval ``low`` to ``high``. ``moved_at`` is the first generation at which the metric is beyond that
    of the control, and ``ahead_of_risk`` how many generations before the test risk that was.
    """
    rows = [
        row
        for group in groups
        if (symptoms := judged(presentations[group.family].symptoms))
        for row in _profile(group, cubes, symptoms, _control_of(group, groups), presentations[group.family])
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _profile(
    group: Group,
    cubes: Mapping[str, Cube],
    symptoms: Sequence[Judged],
    control: Group | None,
    presentation: Presentation,
) -> Iterator[dict[str, object]]:
    cube, last = cubes[group.label], last_generation(group)
    possible = possible_values(cube.metrics, group, presentation)
    moved = _moved(symptoms, group, control, cubes)
    risk = next((moved[one.metric] for one in symptoms if one.definition in OF_THE_RISK), math.nan)
    for definition in DEFINITIONS:
        own = [one for one in symptoms if one.definition == definition and one.metric in cube.metrics]
        for one in own:
            is_warning = definition not in OF_THE_RISK
            yield {
                "group": group.label,
                **_verdict(one, cube, last, possible[cube.metrics.index(one.metric)]),
                "moved_at": moved[one.metric],
                "ahead_of_risk": risk - moved[one.metric] if is_warning else math.nan,
            }
        if not own:
            nothing = dict.fromkeys(("change", "low", "high", "threshold", "moved_at", "ahead_of_risk"), math.nan)
            row = {"group": group.label, "definition": definition, "metric": "", "generation": last, "n": 0}
            yield {**row, **nothing, "verdict": NOT_ASSESSED}


def _verdict(one: Judged, cube: Cube, last: int, possible: np.ndarray) -> dict[str, object]:
    """What was measured from the first generation to the last, and whether the definition holds."""
    there = cube.generations <= last
    values = cube.values[there, cube.metrics.index(one.metric)]
    change = one.change(cube.generations[there], values)
    described = describe(change, one.possible_change((float(possible[0]), float(possible[1]))))
    n, low, high = int(described.n), float(described.low), float(described.high)
    verdict = HOLDS if low > one.threshold else ABSENT if high <= one.threshold else OPEN
    return {
        "definition": one.definition,
        "metric": one.metric,
        "generation": last,
        "n": n,
        "change": float(described.mean),
        "low": low,
        "high": high,
        "threshold": one.threshold,
        "verdict": NOT_ASSESSED if n == 0 else TOO_FEW if n < FEWEST else verdict,
    }


def _control_of(group: Group, groups: Sequence[Group]) -> Group | None:
    """The group that differs from this one in its regime alone, which is that of a control."""
    if group.regime == CONTROL or "regime" not in group.coordinates:
        return None
    wanted = {**group.coordinates, "regime": CONTROL}
    return next((other for other in groups if other.coordinates == wanted), None)


def _moved(
    symptoms: Sequence[Judged], group: Group, control: Group | None, cubes: Mapping[str, Cube]
) -> dict[str, float]:
    """Metric -> the first generation at which it is beyond its control; NaN where it never is, or there is none."""
    falls = {one.metric: one.falls for one in symptoms}
    moved = dict.fromkeys(falls, math.nan)
    if control is None:
        return moved
    paired = PairedValues.of(Pair("regime", control, group), cubes)
    for place, metric in enumerate(paired.metrics):
        if metric in falls:
            beyond = describe((-1.0 if falls[metric] else 1.0) * paired.values[:, place]).low > 0
            moved[metric] = _first_in_a_row(beyond, paired.generations)
    return moved


def _first_in_a_row(beyond: np.ndarray, generations: np.ndarray) -> float:
    """The first of the generations [G] from which on IN_A_ROW are beyond, [G]; NaN where there is none."""
    for place in range(len(beyond) - IN_A_ROW + 1):
        if beyond[place : place + IN_A_ROW].all():
            return float(generations[place])
    return math.nan


def profile_cells(profile: pd.DataFrame) -> pd.DataFrame:
    """The profile as people read it: a row a definition and metric, a column a group.

    A cell is ``holds 2.31 [2.20, 2.43]``, with the generation at which the metric moved where that is known.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for each in profile.to_dict("records"):
        row = {str(column): value for column, value in each.items()}
        name = (DEFINITIONS[str(row["definition"])], str(row["metric"]))
        rows.setdefault(name, {})[str(row["group"])] = _cell(row)
    columns = list(dict.fromkeys(profile["group"].astype(str)))
    # A definition without a metric in one family may have some in another.
    assessed = {definition for definition, metric in rows if metric}
    table = [
        {"definition": definition, "metric": metric or "–", **{group: cells.get(group, "–") for group in columns}}
        for (definition, metric), cells in rows.items()
        if metric or definition not in assessed
    ]
    return pd.DataFrame(table)


def _cell(row: Mapping[str, object]) -> str:
    if row["verdict"] == NOT_ASSESSED:
        return NOT_ASSESSED
    change, low, high, moved = (float(str(row[name])) for name in ("change", "low", "high", "moved_at"))
    since = f", since generation {moved:.0f}" if math.isfinite(moved) else ""
    return f"{row['verdict']}: {interval_text(change, low, high)}{since}"
