"""Further metrics of finished runs: computed of what the store holds, while nothing is fitted or generated again.

A run is composed again from its own ``config.yaml``, with other metrics. What its record then lacks is computed: cheap
metrics of the stored artifacts, dear ones and missing measurements as artifacts. The new record is written beside the
old one, and takes its place file by file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

from modelcollapse.chain_session import Announcer, before_imports, family_and_store, write_report
from modelcollapse.command_line import typed_line
from modelcollapse.config.composing import known_errors
from modelcollapse.config.hydra_internals import parsed
from modelcollapse.errors import UserError, spoken
from modelcollapse.record import GENERATION_KEYS, GENERATIONS_FILE, IDENTITY_FILE
from modelcollapse.record.claiming import claimed, use_problem
from modelcollapse.record.run_folder import TIMINGS_FILE, RunFolder
from modelcollapse.record.run_tables import run_folders
from modelcollapse.store.claims import read_claim
from modelcollapse.store.files import delete_abandoned, temporary_beside, write_whole

if TYPE_CHECKING:
    from modelcollapse.chain import Generation
    from modelcollapse.config.settings import ChainSettings
    from modelcollapse.families.base import Family
    from modelcollapse.store import Artifact, Store

CHANGEABLE = ("metrics.add", "metrics.remove", "metrics.set", "trainer.", "paths.store", "store.on_damage")
"""Settings, or what they begin with, that a measurement may have of its own."""
WITHOUT_MEASURING = ("fit", "synthesis")
"""Kinds of work that are not done again unless it is asked for."""
KEPT_FILES = (IDENTITY_FILE, TIMINGS_FILE, GENERATIONS_FILE)
"""Files of the record that do not simply take the place of the old ones."""
STAGED = "measured"
MOST_NAMED = 3


@dataclass(frozen=True)
class Measured:
    """A run whose record is up to date."""

    folder: Path
    metrics: tuple[str, ...]
    """Names in ``generations.jsonl`` that were not there before."""
    artifacts: int
    """How many artifacts were built."""


@dataclass(frozen=True)
class _Measurable:
    """A finished run, and its chain with the metrics that were asked for."""

    run: RunFolder
    settings: ChainSettings
    values: Mapping[str, Any]
    family: Family
    store: Store


def runs_at(path: Path) -> list[RunFolder]:
    """The run of a folder, or the runs below it. Raises UserError where there are none."""
    folders = sorted(run_folders(path))
    return [RunFolder.open(path)] if not folders or path in folders else [RunFolder(folder) for folder in folders]


def measure_runs(
    runs: Sequence[RunFolder], overrides: Sequence[str], reporter: Announcer, *, refit: bool = False
) -> Iterator[Measured]:
    """Bring the records of runs up to date, yielding each when it is.

    Args:
        runs: all are checked before the first is measured; those that have not finished are left out by the caller.
        overrides: of :data:`CHANGEABLE` settings. Metrics that are added come to those that the run had.
        reporter: is told of progress and of what the store has to say.
        refit: whether models that are no longer in the store are fitted again where a metric needs them.

    Raises UserError with the problems of all runs, before anything is written.
    """
    words = _read(overrides)
    before_imports()
    found: list[_Measurable] = []
    problems: dict[str, list[Path]] = {}
    for run in runs:
        for problem in _checked(run, words, reporter, refit, found):
            problems.setdefault(problem, []).append(run.path)
    if problems:
        raise UserError("\n".join(f"{_named(places)}: {problem}" for problem, places in problems.items()))
    for chain in found:
        # Another process may have begun to measure it, or to run it again, since it was looked at.
        with known_errors(), claimed(chain.run.path, "run", by_time=False):
            measured = _measure(chain)
        yield measured


def _checked(
    run: RunFolder, words: Sequence[tuple[str, Any]], reporter: Announcer, refit: bool, found: list[_Measurable]
) -> list[str]:
    """What is wrong with a run; a run that can be read is added to ``found``."""
    try:
        with known_errors():
            found.append(_measurable(run, words, reporter))
            return list(_problems(found[-1], refit))
    except UserError as error:
        return [str(error)]


def _named(places: Sequence[Path]) -> str:
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    return ", ".join(map(str, places[:MOST_NAMED])) + more


# ---- what is asked for -----------------------------------------------------------------------------------------------


def _read(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Dotted name and value of each override. Raises UserError for what is no setting of a measurement."""
    try:
        found = parsed(list(overrides))
    except HydraException as error:
        raise UserError(str(error)) from error
    words = [(override.key_or_group, override) for override in found]
    foreign = [name for name, override in words if not name.startswith(CHANGEABLE) or override.is_sweep_override()]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)}: not allowed here: a finished chain is measured as it is; allowed are single values"
            f" of {', '.join(f'{name}*' if name.endswith('.') else name for name in CHANGEABLE)}"
        )
    return [(name, override.value()) for name, override in words]


def _measurable(run: RunFolder, words: Sequence[tuple[str, Any]], reporter: Announcer) -> _Measurable:
    from modelcollapse.code_digests.house import snapshot
    from modelcollapse.config.settings import read_chain_settings
    from modelcollapse.training.trainer import prepare_process

    if not run.config:
        raise UserError("its config.yaml is missing: which chain it is cannot be told")
    values = json.loads(json.dumps(run.config))
    for name, value in words:
        _set(values, name.split("."), value)
    values["metrics"] = _joined_metrics(dict(run.config.get("metrics") or {}), dict(values.get("metrics") or {}))
    settings = read_chain_settings(values)
    # Of the files as they are before anything of weight is imported.
    snapshot()
    prepare_process(settings.trainer)
    family, store = family_and_store(settings, reporter)
    # The record keeps how the chain was run.
    return _Measurable(run, settings, {**run.config, "metrics": values["metrics"]}, family, store)


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *groups, name = path
    for group in groups:
        inner = values.get(group)
        values = values.setdefault(group, {}) if inner is None else inner
    values[name] = value


def _joined_metrics(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of metrics: those that are added come to those before, and are no longer left out."""
    if not isinstance(now.get("add"), list) or not isinstance(now.get("remove"), list):
        # The reader of settings says what is wrong.
        return dict(now)
    added, removed = now["add"], now["remove"]
    asked = {*added} - {*before.get("add", ())}
    return {
        **now,
        "add": list(dict.fromkeys([*before.get("add", ()), *added])),
        "remove": [name for name in dict.fromkeys([*before.get("remove", ()), *removed]) if name not in asked],
    }


# ---- what stands in the way ------------------------------------------------------------------------------------------


def _problems(chain: _Measurable, refit: bool) -> Iterator[str]:
    from modelcollapse.chain import chain_generations, goals

    if use := use_problem(chain.run.path, read_claim(chain.run.path)):
        yield use
        return
    wanted = chain.settings.generations + 1
    if (done := len(chain.run.generations)) < wanted:
        yield f"{done} of {wanted} generations are finished; the run's own command finishes them"
        return
    generations = chain_generations(chain.settings, chain.family)
    if other := next(_other_artifacts(chain, generations), None):
        yield other
        return
    needed = [goal for generation in generations for goal in goals(generation, chain.settings, chain.family)]
    gone = [artifact for artifact in chain.store.missing(needed) if artifact.work in WITHOUT_MEASURING]
    if gone and not refit:
        yield _gone(chain, gone)


def _other_artifacts(chain: _Measurable, generations: Sequence[Generation]) -> Iterator[str]:
    """Models and sets that have another key than the record: code, data or settings are no longer those of the run."""
    for generation in generations:
        recorded = chain.run.provenance.get(generation.number, {})
        for role, artifact in generation.artifacts.items():
            if artifact.work in WITHOUT_MEASURING and recorded.get(role, artifact.key) != artifact.key:
                yield (
                    f"the {role} of generation {generation.number} is {recorded[role]}, and would be {artifact.key}"
                    f" now{_reason(chain.store, recorded[role], artifact)}: a metric of it would be of another chain."
                    " Measure with the code and data of the run, or run its command again"
                )


def _reason(store: Store, recorded: str, artifact: Artifact) -> str:
    """In which entries of the recipe an artifact differs from the recorded one, where that is still there."""
    with suppress(LookupError):
        _, manifest = store.find(recorded)
        names = [name for name in artifact.recipe if artifact.recipe[name] != manifest.recipe.get(name)]
        if names:
            return f" ({', '.join(names)} of {artifact.label} differ)"
    return " (what it is made from differs)"


def _gone(chain: _Measurable, gone: Sequence[Artifact]) -> str:
    """The message for work that would be done again, with what it took."""
    seconds = {str(line["key"]): float(line["seconds"]) for line in chain.run.lines(TIMINGS_FILE)}
    known = sum(seconds.get(artifact.key, 0.0) for artifact in gone)
    cost = f" took {spoken(known)} and" if known else ""
    names = ", ".join(artifact.label for artifact in gone[:MOST_NAMED])
    more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
    kept = " (store.keep=ends keeps the weights of the ends only)" if chain.settings.store.keep == "ends" else ""
    return (
        f"{names}{more}{cost} would be done again: a metric needs what is no longer in {chain.store.root}{kept}."
        " --refit does it again"
    )


# ---- measuring -------------------------------------------------------------------------------------------------------


def _measure(chain: _Measurable) -> Measured:
    """Write the record with the new metrics, and put it in the place of the old one."""
    from modelcollapse.chain import run_chain
    from modelcollapse.config.settings import used_members
    from modelcollapse.record import ChainIdentity, Record

    run, settings = chain.run, chain.settings
    staged = temporary_beside(run.path / STAGED)
    delete_abandoned(run.path, STAGED)
    identity = ChainIdentity(
        id=str(run.identity["id"]),
        experiment=settings.name,
        family=chain.family.name,
        model=chain.family.title,
        regime=settings.regime.name,
        seed=settings.seed,
        tags=settings.tracking.tags,
        extensions=tuple(member.described() for member in used_members(settings) if not member.is_built_in),
        command_line=str(run.identity.get("command_line", "")),
    )
    try:
        with Record(staged, identity, chain.values) as record:
            works = list(run_chain(settings, chain.family, chain.store, record, noted_as=run.path))
            write_report(record, chain.family, works, settings)
        new = _names(RunFolder(staged)) - _names(run)
        _replace(run, staged, identity.extensions)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Measured(run.path, tuple(sorted(new)), sum(len(work.computed) for work in works))


def _names(run: RunFolder) -> set[str]:
    return {name for line in run.generations.values() for name in line} - {*GENERATION_KEYS}


def _replace(run: RunFolder, staged: Path, extensions: Sequence[Mapping[str, Any]]) -> None:
    """Move the files of the new record over those of the old; how and when the chain was run stays."""
    files = [path for path in sorted(staged.rglob("*")) if path.is_file()]
    for path in (path for path in files if path.name not in KEPT_FILES):
        place = run.path / path.relative_to(staged)
        place.parent.mkdir(exist_ok=True)
        path.replace(place)
    write_whole(run.path / TIMINGS_FILE, _timings(run, RunFolder(staged)))
    command = typed_line()
    identity = {**run.identity, "extensions": list(extensions)}
    identity["measured"] = [*run.identity.get("measured", ()), command]
    write_whole(run.path / IDENTITY_FILE, (json.dumps(identity, indent=2) + "\n").encode())
    # Last, as a record is written: where the line of a generation is, all the rest is.
    (staged / GENERATIONS_FILE).replace(run.path / GENERATIONS_FILE)


def _timings(run: RunFolder, staged: RunFolder) -> bytes:
    """The lines of the run, and after them those of the artifacts that it did not have."""
    before = run.lines(TIMINGS_FILE)
    known = {line["key"] for line in before}
    lines = [*before, *(line for line in staged.lines(TIMINGS_FILE) if line["key"] not in known)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
