"""Possible values of metrics: the bounds within which intervals of their means stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelcollapse.families.presentation import POSITIVE, Presentation
from modelcollapse.report.groups import Group
from modelcollapse.report.statistics import UNBOUNDED

Bounds = tuple[float, float]


def possible_values(metrics: Sequence[str], group: Group, presentation: Presentation) -> np.ndarray:
    """[M, 2]: smallest and largest possible value of each metric by its flat name, infinite where none is known.

    Those of metrics stand in the chains' records, those of the measures of replicates in the family's presentation.
    """
    known = {**presentation.possible, **{name: ends for chain in group.chains for name, ends in chain.possible.items()}}
    return np.array([bounds_of(name, known) for name in metrics], dtype=float).reshape(-1, 2)


def bounds_of(flat_name: str, known: Mapping[str, Bounds]) -> Bounds:
    """Bounds of a flat name such as ``synthetic/reference_perplexity/median``: those of its longest known part.

    A part begins after the subject and may lack names of statistics at the end.
    """
    parts = flat_name.split("/")
    if parts[-1] == "standard_deviation":
        return POSITIVE
    for end in range(len(parts), 0, -1):
        for start in range(end):
            if (part := "/".join(parts[start:end])) in known:
                return known[part]
    return UNBOUNDED
