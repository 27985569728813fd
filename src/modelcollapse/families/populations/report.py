"""The figures that show a population beside its family's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from modelcollapse.families.base import ChainTitle, Family, GenerationResult
from modelcollapse.populations.members import union_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Sequence[tuple[int, GenerationResult]]


def of_first_member(results: Results, members: Sequence[Sequence[GenerationResult]]) -> Results:
    """The results of all members with the samples of the first, whose figures and documents show one model's."""
    pairs = zip(results, members, strict=True)
    return [(number, replace(result, samples=of_members[0].samples)) for (number, result), of_members in pairs]


def population_figures(
    family: Family, results: Results, members: Sequence[Sequence[GenerationResult]], title: ChainTitle
) -> "Mapping[str, Figure]":
    """The figures of a population of several members, by name.

    Args:
        family: of the first.
        results: joined ones, each with its generation.
        members: of each generation the results of all members.
        title: of the chain.
    """
    from modelcollapse.figures import curves
    from modelcollapse.figures.members import members_by_generation
    from modelcollapse.figures.style import FigureText

    metrics = {name: label for name, label in family.headline if all(name in result.metrics for _, result in results)}
    if not metrics:
        return {}
    rows = [
        {"generation": number, "member": member, **{name: result.metrics[name] for name in metrics}}
        for (number, _), of_members in zip(results, members, strict=True)
        for member, result in enumerate(of_members)
    ]
    union = [
        {"generation": number, **{name: result.metrics[union_name(name)] for name in metrics if _has(result, name)}}
        for number, result in results
    ]
    text = FigureText(title.model, title.regime, title.seeds, f"{len(members[0])} members")
    frames = pd.DataFrame(rows), pd.DataFrame(union)
    return curves.drawn({"members_by_generation": lambda: members_by_generation(*frames, metrics, text)})


def _has(result: GenerationResult, name: str) -> bool:
    return union_name(name) in result.metrics
