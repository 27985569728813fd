"""The differences between two runs: settings, code, libraries, execution, and since when the results differ.

Everything is read from the two run folders and, where the artifacts are still in a store, from their manifests: recipes
with the versions and digests of code, checksums of what was built, how it was executed. Nothing is computed again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelcollapse.credentials import SECRET_NAME
from modelcollapse.errors import UserError
from modelcollapse.record import GENERATION_KEYS, number
from modelcollapse.record.run_folder import TIMINGS_FILE, RunFolder
from modelcollapse.store import Damaged, Manifest

SOURCES_FILE = "sources.json"
PATHS = "paths"
"""The group of settings that only says where things are."""
NAMES_OF_CODE = ("stage", "metric", "name", "kind", "rule")
"""Entries of a recipe that name the code whose version and digest stand beside them."""
NOT_HOW = ("tokens", "replicates")
"""Entries of an execution record that say how much was done, not how."""
MOST_REASONS, MOST_CHARACTERS = 6, 40


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both runs; None where a run does not have it."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Place:
    """The first artifact that differs."""

    generation: int
    role: str
    """Its role in ``provenance.jsonl``, such as ``model``."""
    stage: str
    """The stage that built it, such as ``gaussian.fit``; empty where its manifest is gone."""
    label: str
    """As it is called elsewhere, such as ``generation 1 · fit``."""
    details: tuple[str, ...]
    """Of a recipe: the entries that differ. Of a result: its files that do."""


@dataclass(frozen=True)
class MetricDifference:
    """A metric whose values differ."""

    name: str
    generation: int
    """The first in which it differs."""
    first: float
    second: float
    """Its values there."""
    largest: float
    """Largest relative difference of all generations: of the absolute difference to the larger magnitude."""
    largest_generation: int


@dataclass(frozen=True)
class Comparison:
    """All differences between two runs."""

    runs: tuple[str, str]
    generations: tuple[int, int]
    """How many generations each has finished; compared are those of both."""
    settings: tuple[Difference, ...]
    """By dotted name, without paths."""
    code: tuple[Difference, ...]
    """Stages, metrics and members whose version or digest differs."""
    sources: tuple[str, ...]
    """Modules of this package whose files differ."""
    versions: tuple[Difference, ...]
    """Versions of libraries in the processes of the runs."""
    artifact_versions: tuple[Difference, ...]
    """Versions of libraries with which the artifacts were made, which a run may have found in the store."""
    execution: tuple[Difference, ...]
    """Device, threads, batch sizes and the like of the artifacts."""
    recipe: Place | None
    """The first artifact whose recipe, or that of what it is made from, differs."""
    is_code_alone: bool
    """Whether versions and digests of code are all in which recipes differ, as far as these could be read."""
    result: Place | None
    """The first artifact whose content differs, by checksum; where these cannot be looked at, the first metric."""
    metrics: tuple[MetricDifference, ...]
    """The metrics of both that differ, those that differ first in front."""
    lacking: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def has_equal_results(self) -> bool:
        """Whether no content and no metric differs, as far as they could be compared."""
        return self.result is None and not self.metrics

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs at all."""
        parts = (self.settings, self.code, self.sources, self.versions, self.artifact_versions, self.execution)
        return self.has_equal_results and self.recipe is None and not any(parts) and len({*self.generations}) == 1

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; NaN and infinities as text."""
        values = {**asdict(self), "has_equal_results": self.has_equal_results}
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str), parse_constant=str)
        return plain


def compare_runs(first: Path, second: Path, store: Path | None = None, second_store: Path | None = None) -> Comparison:
    """Compare two run folders.

    Args:
        first: a run folder.
        second: another one.
        store: where the artifacts of both are, where that is not the store that each was run with.
        second_store: where those of the second are, where that is a store of its own.

    Raises UserError where a folder is no run folder, or its record is damaged.
    """
    places = ((first, store), (second, second_store or store))
    one, other = (_Side(RunFolder.open(path.expanduser()), place) for path, place in places)
    metrics = tuple(_metric_differences(one.run, other.run))
    recipe = _first_recipe(one, other)
    return Comparison(
        runs=(str(first), str(second)),
        generations=(len(one.run.generations), len(other.run.generations)),
        settings=differences(_flat(one.run.config), _flat(other.run.config)),
        code=differences(one.code, other.code),
        sources=_changed_sources(one.sources, other.sources),
        versions=differences(one.run.identity.get("versions", {}), other.run.identity.get("versions", {})),
        artifact_versions=differences(one.versions, other.versions),
        execution=differences(one.execution, other.execution),
        recipe=recipe,
        is_code_alone=recipe is None or _is_code_alone(one, other),
        result=_first_result(one, other, metrics),
        metrics=metrics,
        lacking=tuple(_lacking(one, other)),
    )


class _Side:
    """A run with the manifests of its artifacts."""

    def __init__(self, run: RunFolder, store: Path | None) -> None:
        self.run = run
        self._roots = [place.root for place in run.stores(store)]
        self._manifests: dict[str, Manifest | None] = {}

    def manifest(self, key: str) -> Manifest | None:
        """The manifest of an artifact; None where it is gone."""
        if key not in self._manifests:
            self._manifests[key] = next(self._found(key), None)
        return self._manifests[key]

    def _found(self, key: str) -> Iterator[Manifest]:
        for root in self._roots:
            for folder in root.glob(f"*/{key}"):
                try:
                    yield Manifest.read(folder)
                except Damaged:
                    continue

    @cached_property
    def generation_of(self) -> Mapping[tuple[str, str], tuple[int, ...]]:
        """Role and key -> the generations that the artifact is of: several where it is a segment."""
        found: dict[tuple[str, str], list[int]] = {}
        for generation, roles in self.run.provenance.items():
            for role, key in roles.items():
                found.setdefault((role, key), []).append(generation)
        return {place: tuple(generations) for place, generations in found.items()}

    @cached_property
    def artifacts(self) -> Mapping[str, Manifest]:
        """Key -> manifest of all that the run refers to and what that is made from, as far as it is there."""
        waiting = [key for roles in self.run.provenance.values() for key in roles.values()]
        found: dict[str, Manifest] = {}
        seen: set[str] = set()
        while waiting:
            key = waiting.pop()
            if key in seen:
                continue
            seen.add(key)
            manifest = self.manifest(key)
            if manifest is not None:
                found[key] = manifest
                waiting += manifest.parents.values()
        return found

    @cached_property
    def code(self) -> Mapping[str, str]:
        """Stage, metric or member -> version and digest."""
        found = code_of(manifest.recipe for manifest in self.artifacts.values())
        for name, entry in self.run.metrics.items():
            found.setdefault(f"metrics/{name}", set()).add(_version(entry))
        for member in self.run.identity.get("extensions", ()):
            found.setdefault(f"{member['kind']}/{member['name']}", set()).add(_version(member))
        return joined(found)

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """Library -> version with which the artifacts were made."""
        return _union(manifest.versions for manifest in self.artifacts.values())

    @cached_property
    def execution(self) -> Mapping[str, str]:
        """Entry of the execution records -> its values."""
        records = (manifest.execution for manifest in self.artifacts.values())
        return _union(
            {name: value for name, value in _flat(record).items() if name not in NOT_HOW} for record in records
        )

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """Module -> checksum of its file."""
        try:
            return dict(json.loads((self.run.path / SOURCES_FILE).read_text(encoding="utf-8"))["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def roles(self, generation: int) -> list[str]:
        """The roles of a generation, in the order of work."""
        present = self.run.provenance.get(generation, {})
        ordered = [role for role in self._order if role in present]
        return [*ordered, *sorted(present.keys() - {*ordered})]

    @cached_property
    def _order(self) -> list[str]:
        return list(dict.fromkeys(str(line["stage"]) for line in self.run.lines(TIMINGS_FILE)))


# ---- settings, code, execution ---------------------------------------------------------------------------------------


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Dotted name -> value, without paths; what is named like a secret is hidden."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{path}.{name}" if path else str(name)
        if dotted == PATHS:
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, dotted)
        else:
            found[dotted] = "<hidden>" if SECRET_NAME.search(str(name)) else value
    return found


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What is not the same in both, by name; None where one does not have it."""
    names = [*first, *(name for name in second if name not in first)]
    return tuple(
        Difference(name, first.get(name), second.get(name))
        for name in names
        if name not in first or name not in second or first[name] != second[name]
    )


def code_of(recipes: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Stage or member -> versions and digests in which recipes hold its code."""
    found: dict[str, set[str]] = {}
    for recipe in recipes:
        for name, version in _code_in(recipe):
            found.setdefault(name, set()).add(version)
    return found


def _code_in(recipe: Any) -> Iterator[tuple[str, str]]:
    """Name, and version with digest, of all code that a recipe names."""
    if isinstance(recipe, Mapping):
        if "version" in recipe and "digest" in recipe:
            name = next((str(recipe[word]) for word in NAMES_OF_CODE if word in recipe), None)
            if name is not None:
                yield name, _version(recipe)
        for value in recipe.values():
            yield from _code_in(value)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from _code_in(value)


def _version(entry: Mapping[str, Any]) -> str:
    return f"version {entry.get('version')}, {str(entry.get('digest'))[:12]}"


def _union(records: Iterator[Mapping[str, Any]]) -> Mapping[str, str]:
    found: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.items():
            found.setdefault(name, set()).add(str(value))
    return joined(found)


def joined(found: Mapping[str, set[str]]) -> dict[str, str]:
    """Each set as one text."""
    return {name: " and ".join(sorted(found[name])) for name in sorted(found)}


def _changed_sources(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[str, ...]:
    if not first or not second:
        return ()
    return tuple(sorted(name for name in {*first, *second} if first.get(name) != second.get(name)))


# ---- since when ------------------------------------------------------------------------------------------------------


def _pairs(one: _Side, other: _Side) -> Iterator[tuple[int, str, str, str]]:
    """Generation, role and the two keys of what both runs have, in the order of work."""
    for generation in sorted(one.run.provenance.keys() & other.run.provenance.keys()):
        seconds = other.run.provenance[generation]
        for role in one.roles(generation):
            if role in seconds:
                yield generation, role, one.run.provenance[generation][role], seconds[role]


def _first_recipe(one: _Side, other: _Side) -> Place | None:
    for generation, role, key, second in _pairs(one, other):
        if key != second:
            reasons = list(dict.fromkeys(_reasons(one, other, key, second)))
            more = (f"and {len(reasons) - MOST_REASONS} more",) if len(reasons) > MOST_REASONS else ()
            return _place(one, generation, role, key, (*reasons[:MOST_REASONS], *more))
    return None


def _reasons(one: _Side, other: _Side, key: str, second: str) -> Iterator[str]:
    """The entries of recipes that make two keys differ, of the artifacts themselves or of what they are made from."""
    waiting, seen = [(key, second)], set()
    while waiting:
        keys = waiting.pop(0)
        first, other_manifest = one.manifest(keys[0]), other.manifest(keys[1])
        if keys[0] == keys[1] or keys in seen or first is None or other_manifest is None:
            continue
        seen.add(keys)
        for difference in differences(_flat(first.recipe), _flat(other_manifest.recipe)):
            values = [_short(value) for value in (difference.first, difference.second)]
            yield f"{first.label}: {difference.name} {' -> '.join(values) if values[0] != values[1] else 'differs'}"
        for role in sorted(first.parents.keys() ^ other_manifest.parents.keys()):
            yield f"{first.label}: made from {role} in one run only"
        waiting += [
            (parent, other_manifest.parents[role])
            for role, parent in first.parents.items()
            if role in other_manifest.parents
        ]


def _is_code_alone(one: _Side, other: _Side) -> bool:
    """Whether the recipes that both have, and what these are made from, differ in versions and digests of code only."""
    pairs = [(role, first, second) for _, role, first, second in _pairs(one, other)]
    waiting = [each[1:] for each in pairs if not _is_cut_otherwise(one, other, *each)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        keys = waiting.pop()
        if keys[0] == keys[1] or keys in seen:
            continue
        seen.add(keys)
        first, second = one.manifest(keys[0]), other.manifest(keys[1])
        if first is None or second is None or _without_code(first.recipe) != _without_code(second.recipe):
            return False
        if first.parents.keys() != second.parents.keys():
            return False
        waiting += [(parent, second.parents[role]) for role, parent in first.parents.items()]
    return True


def _without_code(recipe: Any) -> Any:
    """A recipe without the versions and digests of what is named in it as code."""
    if isinstance(recipe, Mapping):
        is_code = {"version", "digest"} <= recipe.keys() and any(word in recipe for word in NAMES_OF_CODE)
        left_out = ("version", "digest") if is_code else ()
        return {name: _without_code(value) for name, value in recipe.items() if name not in left_out}
    return [_without_code(value) for value in recipe] if isinstance(recipe, list) else recipe


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    if len(text) <= MOST_CHARACTERS:
        return text
    return "..." if isinstance(value, list) else f"{text[:12]}..."


def _first_result(one: _Side, other: _Side, metrics: Sequence[MetricDifference]) -> Place | None:
    """The first artifact whose content differs; of a segment, the first generation in which a metric does."""
    for generation, role, key, second in _pairs(one, other):
        if _is_cut_otherwise(one, other, role, key, second):
            # Their generations are compared by metrics.
            continue
        span = one.generation_of[role, key]
        if files := _changed_files(one.manifest(key), other.manifest(second)):
            inside = [metric.generation for metric in metrics if metric.generation in span]
            return _place(one, min(inside, default=generation), role, key, files)
    if not metrics:
        return None
    return _place_of_metric(one, metrics[0])


def _is_cut_otherwise(one: _Side, other: _Side, role: str, key: str, second: str) -> bool:
    """Whether two artifacts are segments of other generations."""
    span = one.generation_of[role, key]
    return len(span) > 1 and span != other.generation_of[role, second]


def _place_of_metric(one: _Side, metric: MetricDifference) -> Place:
    """The artifact that a metric is computed of, where it is known."""
    own = one.run.provenance.get(metric.generation, {})
    named = [entry["artifacts"] for name, entry in one.run.metrics.items() if metric.name.endswith(name)]
    roles = [*(role for each in named for role in each), *reversed(one.roles(metric.generation))]
    role = next((role for role in roles if role in own), "")
    return _place(one, metric.generation, role, own.get(role, ""), (metric.name,))


def _place(side: _Side, generation: int, role: str, key: str, details: Sequence[str]) -> Place:
    manifest = side.manifest(key) if key else None
    stage = str(manifest.recipe.get("stage", "")) if manifest else ""
    label = manifest.label if manifest else f"generation {generation} · {role}"
    return Place(generation, role, stage, label, tuple(details))


def _changed_files(first: Manifest | None, second: Manifest | None) -> tuple[str, ...]:
    """Files of two artifacts whose content differs; nothing where one is gone."""
    if first is None or second is None:
        return ()
    names = [*first.files, *(name for name in second.files if name not in first.files)]
    return tuple(name for name in names if first.files.get(name) != second.files.get(name))


def _metric_differences(first: RunFolder, second: RunFolder) -> list[MetricDifference]:
    found: dict[str, MetricDifference] = {}
    for generation in sorted(first.generations.keys() & second.generations.keys()):
        one, other = first.generations[generation], second.generations[generation]
        for name in (name for name in one if name in other and name not in GENERATION_KEYS):
            values = _number(first, name, one), _number(second, name, other)
            relative = _relative(*values)
            if relative == 0:
                continue
            known = found.get(name)
            if known is None:
                found[name] = MetricDifference(name, generation, *values, relative, generation)
            elif relative > known.largest:
                found[name] = MetricDifference(name, known.generation, known.first, known.second, relative, generation)
    return sorted(found.values(), key=lambda metric: (metric.generation, -metric.largest, metric.name))


def _number(run: RunFolder, name: str, line: Mapping[str, Any]) -> float:
    try:
        return number(line[name])
    except (TypeError, ValueError) as error:
        raise UserError(f"{run.path}: {name} of generation {line['generation']} is no number") from error


def _relative(first: float, second: float) -> float:
    if first == second or (math.isnan(first) and math.isnan(second)):
        return 0.0
    difference = abs(first - second) / max(abs(first), abs(second))
    return difference if math.isfinite(difference) else math.inf


def _lacking(one: _Side, other: _Side) -> Iterator[str]:
    for side in (one, other):
        keys = {key for roles in side.run.provenance.values() for key in roles.values()}
        gone = sum(side.manifest(key) is None for key in keys)
        if gone:
            places = ", ".join(map(str, side._roots))
            yield (
                f"{side.run.path}: {gone} of {len(keys)} artifacts are not in {places}: their checksums, code and"
                " execution are not compared (--store PATH names another store)"
            )
        if not side.sources:
            yield f"{side.run.path}: has no {SOURCES_FILE}: files of source code are not compared"
    if one.run.metrics.keys() != other.run.metrics.keys():
        only = sorted(one.run.metrics.keys() ^ other.run.metrics.keys())
        yield f"metrics of one run only: {', '.join(only)}"
