"""The result of a generation of a population, joined from those of its members."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelcollapse.families.base import Family, GenerationResult
from modelcollapse.populations.members import mean_metrics, member_name, of_member, of_union, union_name


def member_results(
    families: Sequence[Family], generation: int, inputs: Sequence[Mapping[str, Path]], folders: Mapping[str, Path]
) -> list[GenerationResult]:
    """The result of each lineage, read from the finished artifacts of a generation; ``inputs`` are those of each."""
    return [
        family.result(generation, {**own, **of_member(folders, member)})
        for member, (family, own) in enumerate(zip(families, inputs, strict=True))
    ]


def union_metrics(
    family: Family, generation: int, inputs: Mapping[str, Path], folders: Mapping[str, Path]
) -> dict[str, float]:
    """The metrics of a sample of what all members wrote, by the names that a single set's have."""
    result = family.result(generation, {**inputs, **of_member(folders, 0), **of_union(folders)})
    prefixes = tuple(subject.prefix for subject in family.subjects(generation) if subject.of == "synthetic")
    return {name: value for name, value in result.metrics.items() if name.startswith(prefixes)}


_AMOUNTS = ("generated",)
"""Metrics of how much there is: of all members together their sum, not that of a sample."""


def joined(members: Sequence[GenerationResult], union: Mapping[str, float]) -> GenerationResult:
    """One result of all members, with what the first member's alone has beside.

    Metrics are means over the members, under ``member_<j>/`` each member's, and under ``union/`` those of the rows of
    all; distributions are of all members' rows, and lines of epochs and samples say whose they are.
    """
    of_members = {
        member_name(member, name): value
        for member, result in enumerate(members)
        for name, value in result.metrics.items()
    }
    of_all = {union_name(name): _of_all(name, value, members) for name, value in union.items()}
    return replace(
        members[0],
        metrics={**mean_metrics(result.metrics for result in members), **of_members, **of_all},
        distributions=_pooled(members),
        samples=_marked(result.samples for result in members),
        epochs=_marked(result.epochs for result in members),
    )


def _of_all(name: str, value: float, members: Sequence[GenerationResult]) -> float:
    """A metric of what all members wrote, from that of the sample of it."""
    is_amount = name.rpartition("/")[2] in _AMOUNTS
    return sum(result.metrics[name] for result in members) if is_amount else value


def _pooled(members: Sequence[GenerationResult]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([result.distributions[name] for result in members if name in result.distributions])
        for name in members[0].distributions
    }


def _marked(lines: Any) -> list[dict[str, Any]]:
    return [{"member": member, **line} for member, each in enumerate(lines) for line in each]
