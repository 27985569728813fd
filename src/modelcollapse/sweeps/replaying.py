"""Runs the chains of a bundle again, from their settings alone, and says what agrees with the record in it.

What a bundle says is data, whoever made it: its settings pass the guard that typed ones pass, and name no files; code
of extensions that they ask for is used where whoever replays has named it; and nothing is written but into folders of
theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.errors import HydraException

from modelcollapse.chain_session import Announcer, before_imports, family_and_store, run_settings
from modelcollapse.config.composing import counted, known_errors
from modelcollapse.config.guard import foreign_code
from modelcollapse.config.hydra_internals import parsed
from modelcollapse.console import ChainReporter
from modelcollapse.credentials import secret_problems
from modelcollapse.errors import UserError
from modelcollapse.record import GENERATION_KEYS, RunState
from modelcollapse.record.bundle import Bundle
from modelcollapse.record.bundled_records import STORE
from modelcollapse.record.claiming import claimed
from modelcollapse.record.comparison import Comparison, Difference, code_of, compare_runs, differences, joined
from modelcollapse.record.identity import versions
from modelcollapse.record.run_folder import TIMINGS_FILE, RunFolder
from modelcollapse.registry import safe_imports
from modelcollapse.settings import SettingsError, file_settings, may_differ
from modelcollapse.store import Manifest
from modelcollapse.store.files import write_whole
from modelcollapse.sweeps.bundling import HUB_ID, LEFT_OUT, is_elsewhere, set_value, texts

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings

Keys = Mapping[tuple[int, str], str]
"""Generation and role -> key of the artifact."""
Verdict = Literal["bits", "tolerance", "differs", "failed"]
RESULT_FILE = "replay.json"
RECORDED = "recorded"
"""Folder of the records of the bundle, beside the runs."""
TOLERANCE = 1e-5
"""Largest relative difference of a metric where libraries or execution differ: that of float32 on a CPU, see
docs/reliability.md."""
MOST_NAMED = 6
OF_THE_COMMAND = {"paths": "--store PATH and --output FOLDER", "plan": "--check"}
"""Groups of settings that options of the command stand for."""


@dataclass(frozen=True)
class Chain:
    """A run of a bundle that can be run again."""

    number: int
    title: str
    settings: ChainSettings
    values: Mapping[str, Any]
    """The composed configuration, for the record."""
    is_shortened: bool
    """Whether a number of generations was asked for that is not the recorded one."""


@dataclass(frozen=True)
class Unreadable:
    """A run of a bundle whose settings cannot be read before somebody says where its data lie."""

    number: int
    title: str
    reason: str


@dataclass(frozen=True)
class Replayed:
    """A chain that was run again, and how it compares with the record."""

    number: int
    title: str
    comparison: Comparison | None
    """None where it failed."""
    lacking: tuple[str, ...] = ()
    """What the record has and the replay has not."""
    metrics: int = 0
    """How many metrics were compared, those of each generation counted."""
    taken: int = 0
    """How many artifacts were in the store already, and were not computed again."""
    error: str = ""
    tolerance: float | None = None
    """What was asked for; None asks for equal bits where libraries and execution are the same, else for TOLERANCE."""

    @property
    def largest(self) -> float:
        """The largest relative difference that is accepted."""
        comparison = self.comparison
        if self.tolerance is not None or comparison is None:
            return self.tolerance or 0.0
        others = (comparison.artifact_versions, comparison.execution, comparison.code, comparison.lacking)
        return TOLERANCE if any(others) else 0.0

    @property
    def verdict(self) -> Verdict:
        """``bits``: all agrees. ``tolerance``: metrics do, within it. ``differs``. ``failed``: it did not run."""
        if self.comparison is None:
            return "failed"
        if self.lacking or not self.comparison.is_code_alone:
            return "differs"
        if self.comparison.has_equal_results:
            return "bits"
        seen = max((metric.largest for metric in self.comparison.metrics), default=0.0)
        return "tolerance" if seen <= self.largest and self.largest > 0 else "differs"

    @property
    def agrees(self) -> bool:
        """Whether what was compared agrees."""
        return self.verdict in ("bits", "tolerance")


@dataclass(frozen=True)
class Checked:
    """A chain of a bundle, looked at without running it."""

    number: int
    title: str
    versions: tuple[Difference, ...]
    """Libraries: recorded and here."""
    code: tuple[Difference, ...] = ()
    """Stages and members whose code is another one here."""
    keys: int = 0
    """How many artifacts are recorded."""
    other: int = 0
    """How many would have another key here: another recipe."""
    unknown: str = ""
    """Why recipes could not be compared; empty where they were."""

    @property
    def agrees(self) -> bool:
        """Whether it would be computed from the recorded recipes, as far as that could be told."""
        return not self.other


# ---- reading ---------------------------------------------------------------------------------------------------------


def chains_of(
    bundle: Bundle, overrides: Sequence[str], store: Path, allowed: Sequence[str] = (), *, without_data: bool = False
) -> list[Chain | Unreadable]:
    """The chains of a bundle with these overrides. Nothing is run or written, and no data are looked at.

    Args:
        bundle: verified.
        overrides: of settings that decide no result, and of those that say where files lie.
        store: where the artifacts go.
        allowed: extensions whose members the chains may use: names of packages, or ``kind/name`` of members.
        without_data: whether chains are returned as Unreadable whose only fault is that nobody says where data lie.

    Raises UserError with the problems of all chains.
    """
    words = _read(overrides)
    found: list[Chain | Unreadable] = []
    problems: dict[str, None] = {}
    for number, run in enumerate(bundle.runs):
        try:
            chain = _chain(bundle, number, run.title, words, store)
            found.append(chain)
            problems |= dict.fromkeys(_foreign_members(chain.settings, allowed))
        except SettingsError as error:
            absent = [name for name in run.give if any(_asks_for(problem, name) for problem in error.problems)]
            if without_data and len(absent) == len(error.problems):
                found.append(Unreadable(number, run.title, f"{', '.join(absent)} is not given"))
            else:
                problems |= dict.fromkeys(_with_advice(problem, run.give) for problem in error.problems)
    if problems:
        raise UserError(counted(list(problems), f"the settings of {bundle.path}"))
    return found


def _chain(bundle: Bundle, number: int, title: str, words: Sequence[tuple[str, Any]], store: Path) -> Chain:
    from modelcollapse.config.settings import read_chain_settings

    values = bundle.settings(number)
    if problems := list(_hostile(values)):
        raise SettingsError(problems)
    values |= json.loads(json.dumps(LEFT_OUT))
    for name, value in words:
        _set(values, name, value)
    set_value(values, ["paths", "store"], str(store))
    settings = read_chain_settings(values)
    if problems := [*_named_files(settings, words), *_of_results(settings, words, bundle.runs[number].give)]:
        raise SettingsError(problems)
    return Chain(number, title, settings, values, any(name == "generations" for name, _ in words))


def _hostile(values: Mapping[str, Any]) -> Iterator[str]:
    """What the settings of a bundle may not hold: what typed ones may not, references, and paths."""
    yield from foreign_code(values)
    yield from secret_problems(values)
    for name, value in texts(values):
        if "${" in value:
            yield f"{name}: {value!r} is not allowed: the settings of a bundle are values, without references"
        elif is_elsewhere(value):
            yield f"{name}: {value!r} is not allowed: a bundle names no files"


def _named_files(settings: ChainSettings, words: Sequence[tuple[str, Any]]) -> Iterator[str]:
    """Files that the bundle names, and not whoever replays it; an id of the hub is one where a folder has its name."""
    for name, value, mark in file_settings(settings):
        is_typed = any(name == each or name.startswith(f"{each}.") for each, _ in words)
        is_id = mark.or_hub and HUB_ID.fullmatch(value) and not Path(value).exists()
        if not is_typed and not name.startswith("paths.") and not is_id:
            yield f"{name}: {value!r} is not allowed: a bundle names no files; give {name}=PATH"


def _of_results(settings: ChainSettings, words: Sequence[tuple[str, Any]], give: Sequence[str]) -> Iterator[str]:
    """Overrides of settings that decide results: another chain is no replay."""
    for name in dict.fromkeys(name for name, _ in words):
        if instead := OF_THE_COMMAND.get(name.partition(".")[0]):
            yield f"{name}: is given by {instead}"
        elif name not in give and not may_differ(settings, name):
            yield f"{name}: decides results, which would be those of another chain; a bundle is replayed as it is"


def _foreign_members(settings: ChainSettings, allowed: Sequence[str]) -> Iterator[str]:
    from modelcollapse.config.settings import used_members

    for member in used_members(settings):
        names = (f"{member.kind}/{member.name}", member.package, member.origin, member.origin.split(" ")[0])
        if not member.is_built_in and not {*names} & {*allowed}:
            yield (
                f"{names[0]} is of {member.origin}: a bundle brings no code, and starts none that is installed unless"
                f" you name it: --extension {names[0]}"
            )


def _with_advice(problem: str, give: Sequence[str]) -> str:
    """A problem; where files have to be named, with what to type."""
    for name in give:
        if _asks_for(problem, name):
            return f"{name}: the bundle does not hold its data; say where they are: {name}=PATH"
    return problem


def _asks_for(problem: str, name: str) -> bool:
    """Whether a problem is that a setting must be given."""
    return problem.startswith(f"{name}: must be given")


def _read(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Full name and value of each override. Raises UserError for what is no single value of a setting."""
    try:
        found = parsed(list(overrides))
    except HydraException as error:
        raise UserError(f"{str(error).splitlines()[0]} (typed: {' '.join(overrides)})") from error
    for override in found:
        if override.is_sweep_override() or not override.input_line or override.input_line[0] in "+~":
            raise UserError(f"{override.input_line}: must be a single value of a setting, such as data.path=FOLDER")
        if problems := list(_hostile_typed(override.key_or_group, override.value())):
            raise UserError("\n".join(problems))
    return [(override.key_or_group, override.value()) for override in found]


def _hostile_typed(name: str, value: Any) -> Iterator[str]:
    group, _, last = name.rpartition(".")
    yield from foreign_code({last: value}, group)
    if isinstance(value, str) and "${" in value:
        yield f"{name}: {value!r} is not allowed: references are not resolved here; type the value"


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    """Set a value. Raises SettingsError where its group is none."""
    try:
        set_value(values, name.split("."), value)
    except (KeyError, TypeError) as error:
        raise SettingsError([f"{name}: there is no such setting in the bundle"]) from error


# ---- looking, without running ----------------------------------------------------------------------------------------


def version_differences(recorded: RunFolder) -> tuple[Difference, ...]:
    """Libraries whose version is another one here than in a record."""
    return differences(recorded.identity.get("versions", {}), versions())


def checked(chain: Chain | Unreadable, records: Path, announcer: Announcer) -> Checked:
    """Compare the recipes that a chain would be computed from here with those that are recorded.

    Raises UserError where data cannot be used.
    """
    from modelcollapse.chain import chain_generations
    from modelcollapse.code_digests.house import snapshot
    from modelcollapse.training.trainer import prepare_process

    recorded = RunFolder(records / str(chain.number))
    if isinstance(chain, Unreadable):
        return Checked(chain.number, chain.title, version_differences(recorded), unknown=chain.reason)
    before_imports()
    snapshot()
    prepare_process(chain.settings.trainer)
    with known_errors():
        family, _ = family_and_store(chain.settings, announcer)
        declared = {
            (generation.number, role): artifact
            for generation in chain_generations(chain.settings, family)
            for role, artifact in generation.artifacts.items()
        }
    keys = {(number, role): key for number, roles in recorded.provenance.items() for role, key in roles.items()}
    here_keys = {place: artifact.key for place, artifact in declared.items()}
    compared = _comparable(keys, here_keys) if chain.is_shortened else keys
    other = {key for place, key in compared.items() if here_keys.get(place) != key}
    before = code_of(manifest.recipe for manifest in _manifests(records))
    here = code_of(artifact.recipe for artifact in declared.values())
    shared = {name: found for name, found in before.items() if name in here}
    return Checked(
        chain.number,
        chain.title,
        version_differences(recorded),
        differences(joined(shared), joined({name: here[name] for name in shared})),
        len({*compared.values()}),
        len(other),
    )


def _comparable(recorded: Keys, here: Keys) -> Keys:
    """The recorded keys of artifacts that hold the same generations in both."""
    spans = [_spans(each) for each in (recorded, here)]
    return {
        place: key
        for place, key in recorded.items()
        if place in here and spans[0][place[1], key] == spans[1][place[1], here[place]]
    }


def _spans(keys: Keys) -> dict[tuple[str, str], set[int]]:
    """Role and key -> the generations that an artifact holds."""
    found: dict[tuple[str, str], set[int]] = {}
    for (generation, role), key in keys.items():
        found.setdefault((role, key), set()).add(generation)
    return found


def _manifests(records: Path) -> Iterator[Manifest]:
    for path in sorted((records / STORE).glob("*/*")):
        yield Manifest.read(path)


def refuse_absent_devices(chains: Sequence[Chain], announcer: Announcer) -> None:
    """Raise UserError where something is to be computed on devices that this machine does not have."""
    from modelcollapse.chain import chain_generations, goals
    from modelcollapse.preflight import device_problems, refuse_hardware

    problems: dict[str, None] = {}
    for chain in chains:
        if not device_problems(chain.settings.trainer):
            continue
        family, store = family_and_store(chain.settings, announcer)
        wanted = (
            goal
            for generation in chain_generations(chain.settings, family)
            for goal in goals(generation, chain.settings, family)
        )
        try:
            refuse_hardware(chain.settings.trainer, store, wanted)
        except SettingsError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise UserError(counted(list(problems), "the recorded settings, which decide no result and may be given anew"))


# ---- running ---------------------------------------------------------------------------------------------------------


def replay_chains(chains: Sequence[Chain], folder: Path, tolerance: float | None = None) -> Iterator[Replayed]:
    """Run chains again, in ``folder/<number>``, each compared with ``folder/recorded/<number>`` when it is finished.

    Args:
        chains: of a bundle.
        folder: has the records of the bundle.
        tolerance: largest relative difference of a metric that is accepted; None: see :attr:`Replayed.tolerance`.

    An error for the user is in what is yielded; others are raised.
    """
    made: set[str] = set()
    for chain in chains:
        found = _replayed(chain, folder, tolerance)
        lines = RunFolder(folder / str(chain.number)).lines(TIMINGS_FILE) if found.comparison else []
        made |= {str(line["key"]) for line in lines if line["computed"]}
        yield replace(found, taken=sum(line["key"] not in made for line in lines))


def _replayed(chain: Chain, folder: Path, tolerance: float | None) -> Replayed:
    place = folder / str(chain.number)
    try:
        with known_errors(), claimed(place, "run", by_time=False), RunState(place) as state, safe_imports():
            reporter = ChainReporter(chain.settings, place, is_command=False)
            run_settings(chain.settings, chain.values, place, state, reporter)
    except UserError as error:
        return Replayed(chain.number, chain.title, None, error=str(error))
    return compare_with_record(chain, folder, tolerance)


def compare_with_record(chain: Chain, folder: Path, tolerance: float | None) -> Replayed:
    """How a chain that was run again compares with the record."""
    records, place = folder / RECORDED, folder / str(chain.number)
    store = Path(chain.settings.paths.store)
    comparison = compare_runs(records / str(chain.number), place, records / STORE, store)
    before, after = RunFolder(records / str(chain.number)), RunFolder(place)
    shared = before.generations.keys() & after.generations.keys()
    names = [before.generations[each].keys() & after.generations[each].keys() for each in shared]
    numbers = sum(len(each - {*GENERATION_KEYS}) for each in names)
    return Replayed(
        chain.number,
        chain.title,
        comparison,
        tuple(_lacking(chain, before, after)),
        numbers,
        tolerance=tolerance,
    )


def _lacking(chain: Chain, before: RunFolder, after: RunFolder) -> Iterator[str]:
    """What the record has and the replay has not."""
    count = len(before.generations)
    if len(after.generations) < count and not chain.is_shortened:
        yield f"recorded are {count} generations, and the settings lead to {len(after.generations)}"
    if len(after.generations) > count and before.is_finished:
        yield f"recorded are {count} generations of a finished run, and the settings lead to {len(after.generations)}"
    for generation in sorted(before.generations.keys() & after.generations.keys()):
        if only := sorted(before.generations[generation].keys() - after.generations[generation].keys()):
            yield f"only the record has {', '.join(only[:MOST_NAMED])} of generation {generation}"
            return
        heads = [{name: side.generations[generation].get(name) for name in GENERATION_KEYS} for side in (before, after)]
        if heads[0] != heads[1]:
            yield f"the record names another regime or seed in generation {generation}"
            return


def write_result(folder: Path, bundle: Bundle, found: Sequence[Replayed]) -> Path:
    """Write ``replay.json``: what agrees, for machines."""
    chains = [
        {
            **{name: value for name, value in asdict(each).items() if name != "comparison"},
            "verdict": each.verdict,
            "comparison": each.comparison.as_json() if each.comparison else None,
        }
        for each in found
    ]
    content = {"bundle": bundle.path.name, "agrees": all(each.agrees for each in found), "chains": chains}
    return write_whole(folder / RESULT_FILE, (json.dumps(content, indent=1, default=str) + "\n").encode())


def recorded_seconds(records: Path, chains: Sequence[Chain | Unreadable]) -> float:
    """Seconds of work that the records say the chains took, what they share counted once."""
    seconds: dict[str, float] = {}
    for chain in chains:
        for line in RunFolder(records / str(chain.number)).lines(TIMINGS_FILE):
            with suppress(TypeError, ValueError):
                seconds[str(line.get("key"))] = float(line["seconds"])
    return sum(seconds.values())
