"""The objective of a chain: one number, which train.py returns to a sweeper.

It is a metric of the last generation by its flat name, ``objective=test/perplexity``; by default the first of those
that the family shows for every generation. A number that is not finite is none: of a search it is a failed trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from modelcollapse.errors import UserError
from modelcollapse.settings import nearest

if TYPE_CHECKING:
    from modelcollapse.families.base import Family

MOST_LISTED = 40


def objective_problems(name: str | None, family: Family, generations: int) -> list[str]:
    """What is wrong with the name of a metric, before anything is computed; None stands for the default."""
    if name is None:
        return []
    known = sorted({*metric_names(family, generations)})
    if any(name == each or (each.endswith("/") and name.startswith(each)) for each in known):
        return []
    listed = ", ".join(each for each in known if not each.endswith("/"))
    return [f"objective: {name!r} is no metric of this chain{nearest(name, known)}; there are: {listed}"]


def metric_names(family: Family, generations: int) -> Iterator[str]:
    """The flat names of the metrics of the last generation.

    One that ends in ``/`` stands for all that begin so: of metrics that give names of their own.
    """
    yield from (name for name, _ in family.headline)
    yield from getattr(family, "measure_names", list)()
    for subject in family.subjects(generations):
        for metric in family.metrics.of(subject):
            name = metric.flat_name(subject.prefix)
            yield f"{name}/"
            if metric.records:
                yield from (metric.flat_name(subject.prefix, key) for key in metric.records)
            elif subject.of != "replicates":
                yield name


def objective_of(name: str | None, family: Family, metrics: Mapping[str, float]) -> tuple[str, float | None]:
    """The objective's name, and its value among the metrics of the last generation; None where it is not finite.

    Raises UserError where the chain has no such metric.
    """
    wanted = name or next((name for name, _ in family.headline), "")
    if wanted not in metrics:
        if name is None:
            return wanted, None
        there = ", ".join(sorted(metrics)[:MOST_LISTED])
        raise UserError(f"objective: {wanted!r} is no metric of the last generation{nearest(wanted, metrics)}: {there}")
    value = float(metrics[wanted])
    return wanted, value if math.isfinite(value) else None
