"""Groups: chains that differ in nothing but their seed, and the settings that distinguish them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelcollapse.report.chains import ReportChain

IDENTITY = ("experiment", "family", "model", "regime")
"""What ``chain.json`` says of a chain, beside its seed."""
COORDINATES_FIRST = ("sweep", "family", "model", "regime")
NAMES = ("remedy",)
"""Settings that give several others a name: they distinguish groups before those do, and are shown by their value."""
"""Columns that distinguish groups, in order, before any setting does."""
ABSENT = "(none)"
"""Stands for a setting that a chain does not have."""


@dataclass(frozen=True)
class Group:
    """Chains that differ in nothing but their seed."""

    label: str
    """What it is called, by its coordinates."""
    coordinates: Mapping[str, Any]
    """The fewest columns, of those of ``columns``, that distinguish this group from all others."""
    columns: Mapping[str, Any]
    """Sweep, identity, and every setting that differs between chains: column -> value."""
    chains: tuple[ReportChain, ...]
    """In the order of their seeds."""

    @property
    def family(self) -> str:
        """Family of the chains."""
        return str(self.columns["family"])

    @property
    def regime(self) -> str:
        """Regime of the chains."""
        return str(self.columns["regime"])

    @property
    def seeds(self) -> list[int]:
        """The seeds that have finished a generation."""
        return [chain.seed for chain in self.chains if chain.measured.generations.size]


def listed_seeds(seeds: Iterable[int]) -> str:
    """Seeds as a title names them: ``0-4``, or ``0, 3``."""
    ordered = sorted(set(seeds))
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered))


def groups_of(chains: Sequence[ReportChain]) -> list[Group]:
    """The groups, in the order in which their first chains come."""
    names = differing_settings(chains)
    all_columns = [_columns(chain, names) for chain in chains]
    members: dict[str, list[int]] = {}
    for place, columns in enumerate(all_columns):
        members.setdefault(json.dumps(columns, sort_keys=True), []).append(place)
    firsts = [all_columns[places[0]] for places in members.values()]
    distinguishing = coordinates(firsts, names)
    groups = []
    for columns, places in zip(firsts, members.values(), strict=True):
        of_group = tuple(sorted((chains[place] for place in places), key=lambda chain: chain.seed))
        place_in_grid = {name: columns[name] for name in distinguishing}
        groups.append(Group(_label(place_in_grid, columns), place_in_grid, columns, of_group))
    return groups


def differing_settings(chains: Sequence[ReportChain]) -> list[str]:
    """Settings that differ between chains of one family; those of the regime between chains of one regime's name."""
    names = dict.fromkeys(name for chain in chains for name in chain.settings)
    return [name for name in names if _differs(name, chains)]


def _differs(name: str, chains: Sequence[ReportChain]) -> bool:
    found: dict[tuple[str, str], set[str]] = {}
    for chain in chains:
        within = (chain.identity["family"], chain.identity["regime"] if name.startswith("regime.") else "")
        found.setdefault(within, set()).add(json.dumps(chain.settings.get(name, ABSENT)))
    return any(len(values) > 1 for values in found.values())


def _columns(chain: ReportChain, names: Sequence[str]) -> dict[str, Any]:
    identity = {name: chain.identity[name] for name in IDENTITY}
    return {"sweep": chain.sweep, **identity, **{name: chain.settings.get(name, ABSENT) for name in names}}


def coordinates(groups: Sequence[Mapping[str, Any]], settings: Sequence[str]) -> list[str]:
    """The columns that distinguish the groups: each in turn that separates some that those before it do not."""
    chosen: list[str] = []
    parts = 1 if groups else 0
    named = [name for name in NAMES if name in settings]
    for name in (*COORDINATES_FIRST, *named, *settings, "experiment"):
        finer = len({json.dumps([columns[one] for one in (*chosen, name)]) for columns in groups})
        if finer > parts:
            chosen.append(name)
            parts = finer
    return chosen


def _label(place: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
    return words_of(place) or str(columns["regime"])


def words_of(place: Mapping[str, Any]) -> str:
    """Coordinates as a label names them."""
    return ", ".join(_words(name, value, place) for name, value in place.items())


def planned_label(overrides: Sequence[str]) -> str:
    """What the group of a chain without a record is called, by the overrides that distinguish it, as with a record."""
    given = {name.lstrip("+"): value for name, _, value in (override.partition("=") for override in overrides)}
    place = {name: given[name] for name in (*COORDINATES_FIRST, *NAMES, *given) if name in given}
    return words_of(place)


def _words(name: str, value: Any, place: Mapping[str, Any]) -> str:
    if name in (*IDENTITY, "sweep", *NAMES):
        return str(value)
    shown = last_part(name) if sum(last_part(other) == last_part(name) for other in place) == 1 else name
    return f"{shown}={value_text(value)}"


def last_part(name: str) -> str:
    """The last part of a setting's flat name; of a chosen member what it is: ``rule`` of ``selection.rule.name``."""
    return name.removesuffix(".name").rpartition(".")[2]


def value_text(value: Any) -> str:
    """A setting's value as one would type it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Cube:
    """What the chains of a group measured, on the generations and metrics that any of them has."""

    generations: np.ndarray
    """[G]"""
    metrics: Sequence[str]
    """[M], sorted."""
    values: np.ndarray
    """[G, M, C] for C chains; NaN where nothing was recorded."""
    recorded: np.ndarray
    """[G, M, C]"""

    @classmethod
    def of(cls, group: Group) -> Cube:
        """The measurements of the group's chains beside each other."""
        parts = [chain.measured for chain in group.chains]
        generations = np.unique(np.concatenate([part.generations for part in parts]))
        metrics = sorted({name for part in parts for name in part.metrics})
        shape = (len(generations), len(metrics), len(parts))
        values, recorded = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        columns = {name: place for place, name in enumerate(metrics)}
        for place, part in enumerate(parts):
            if part.generations.size:
                rows = np.searchsorted(generations, part.generations)
                where = np.ix_(rows, np.array([columns[name] for name in part.metrics]), np.array([place]))
                values[where], recorded[where] = part.values[:, :, None], part.recorded[:, :, None]
        return cls(generations, metrics, values, recorded)
