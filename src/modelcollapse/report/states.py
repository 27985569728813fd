"""The state of every chain of a sweep, of those that have not begun too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.errors import UserError
from modelcollapse.record.claiming import status_of
from modelcollapse.record.sweep_folder import GRID_FILE, ChainProcess, PlannedChain, SweepFolder
from modelcollapse.report.chains import ReportChain, sweep_names
from modelcollapse.report.groups import Group, planned_label, value_text
from modelcollapse.store.claims import is_running

if TYPE_CHECKING:
    from modelcollapse.report.groups import Group


FINISHED, NOT_BEGUN, KILLED = "finished", "has not begun", "killed"


@dataclass(frozen=True)
class ChainState:
    """A chain that was asked for, and how far it came."""

    sweep: str
    """Name of the sweep it belongs to."""
    folder: Path
    run: str
    """Folder of the run within the sweep, whether it is there or not."""
    group: str
    """Label of the group."""
    seed: str
    id: str
    cell: tuple[str, ...]
    """Equal for chains of one sweep that differ in nothing but their seed."""
    word: str
    """What is to be said of it in a word."""
    done: int
    """How many generations are finished."""
    wanted: int | None
    """How many were asked for; None where the configuration does not say."""
    error: str | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.word == FINISHED

    @property
    def text(self) -> str:
        """How far it came and why no further."""
        if self.word in (FINISHED, NOT_BEGUN):
            return self.word
        place = f"in generation {self.done}" + ("" if self.wanted is None else f" of {self.wanted - 1}")
        if self.done == self.wanted:
            place = "after its last generation"
        return f"{self.word} {place}" + (f": {self.error}" if self.error else "")

    @property
    def sentence(self) -> str:
        """Which chain it is and what became of it."""
        where = ", ".join(word for word in (self.group, f"seed {self.seed}" if self.seed else "") if word)
        return f"{where} ({self.run}): {self.text}"


def planned_states(folder: Path, sweep: str) -> list[ChainState]:
    """The chains of the sweeps at or below a folder, by what their ``grid.json`` asks for.

    Raises UserError where that file is damaged.
    """
    return [_planned(grid, chain, folder, sweep) for grid in _grids(folder) for chain in _chains(grid)]


def states_of(folders: Sequence[Path], groups: Sequence[Group]) -> list[ChainState]:
    """All chains that were asked for: those of the groups in their order, then those that have no run folder yet.

    Of several runs of one chain below one of the folders the one that is in a group counts.
    """
    asked = [state for pair in zip(folders, sweep_names(folders), strict=True) for state in planned_states(*pair)]
    by_folder = {state.folder.resolve(): state for state in asked}
    states = [
        _named(by_folder.get(chain.folder.resolve()) or _unplanned(chain), group, chain)
        for group in groups
        for chain in group.chains
    ]
    labels = {state.cell: state.group for state in states if state.cell}
    known = {(state.sweep, state.id) for state in states}
    rest = {(state.sweep, state.id): state for state in asked if (state.sweep, state.id) not in known}
    return [*states, *(replace(state, group=labels.get(state.cell, state.group)) for state in rest.values())]


def _grids(root: Path) -> Iterator[SweepFolder]:
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if GRID_FILE in files:
            yield SweepFolder(Path(folder))
            subfolders.clear()


def _chains(sweep: SweepFolder) -> list[PlannedChain]:
    try:
        return sweep.chains()
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{sweep.path / GRID_FILE} is damaged: {error}") from error


def _planned(grid: SweepFolder, chain: PlannedChain, root: Path, sweep: str) -> ChainState:
    own = [word for word in chain.varied if not word.startswith("seed=")]
    seeds = [override.partition("=")[2] for override in chain.overrides if override.startswith("seed=")]
    folder, process = grid.chain(chain.number), grid.process(chain.number)
    return ChainState(
        sweep=sweep,
        folder=folder,
        run=folder.relative_to(root).as_posix(),
        group=planned_label(own),
        seed=seeds[-1] if seeds else "",
        id=chain.id,
        cell=(str(grid.path), *own),
        word=_word(process),
        done=grid.generations(chain.number),
        wanted=chain.generations + 1,
        error=process.error if process is not None and process.state == "failed" else None,
    )


def _word(process: ChainProcess | None) -> str:
    if process is None:
        return NOT_BEGUN
    if process.state != "running":
        return process.state
    if process.host != os.uname().nodename:
        return f"running on {process.host}, or killed there,"
    return "running" if is_running(process.process, process.began) else KILLED


def _unplanned(chain: ReportChain) -> ChainState:
    """The state of a run that no sweep asked for, as its record has it."""
    word = status_of(chain.folder, chain.identity)
    return ChainState(
        sweep=chain.sweep,
        folder=chain.folder,
        run=chain.run,
        group="",
        seed=str(chain.seed),
        id=str(chain.identity["id"]),
        cell=(),
        word=word if chain.missing else FINISHED,
        done=len(chain.measured.generations),
        wanted=None if chain.wanted is None else chain.wanted + 1,
    )


def _named(state: ChainState, group: Group, chain: ReportChain) -> ChainState:
    return replace(state, group=group.label, folder=chain.folder, run=chain.run)


TIMINGS_FILE, PROVENANCE_FILE = "timings.jsonl", "provenance.jsonl"


@dataclass(frozen=True)
class ChainProvenance:
    """A chain, as the page lists it."""

    id: str
    run: str
    group: str
    seed: str
    state: str
    """How far it came and why no further."""
    generations: str
    """Finished, of how many."""
    computed: str
    """Time of the stages that this run computed."""
    taken: str
    """Time that the stages it took from the store had once cost."""
    keys: dict[str, str]
    """Role -> key of the last generation's artifacts."""


def chain_rows(groups: Sequence[Group], states: Sequence[ChainState]) -> list[ChainProvenance]:
    """All chains that were asked for, by group and seed; those without a run at the end."""
    runs = {chain.folder: chain for group in groups for chain in group.chains}
    return [_chain(state, runs.get(state.folder)) for state in states]


def _chain(state: ChainState, run: ReportChain | None) -> ChainProvenance:
    timings = run.lines(TIMINGS_FILE) if run else []
    provenance = run.lines(PROVENANCE_FILE) if run else []
    last = provenance[-1] if provenance else {}
    return ChainProvenance(
        id=state.id,
        run=state.run,
        group=state.group,
        seed=state.seed,
        state=state.text,
        generations=f"{state.done:,}" if state.wanted is None else f"{state.done:,} of {state.wanted:,}",
        computed=duration(_seconds(timings, computed=True)),
        taken=duration(_seconds(timings, computed=False)),
        keys={role: str(key) for role, key in last.items() if role != "generation"},
    )


def _seconds(timings: Sequence[dict[str, Any]], *, computed: bool) -> float:
    # A segment's time is recorded once, whatever the number of its generations.
    once = {line["key"]: line["seconds"] for line in timings if bool(line["computed"]) is computed}
    return float(sum(once.values()))


def duration(seconds: float) -> str:
    """As ``2 h 05 min``, ``3 min 20 s``, ``4.1 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def version_rows(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Package -> version; several where chains differ."""
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        for chain in group.chains:
            for package, version in chain.identity.get("versions", {}).items():
                found.setdefault(package, {})[str(version)] = None
    return [(package, " and ".join(versions)) for package, versions in found.items()]


def differing_columns(groups: Sequence[Group]) -> list[str]:
    """The columns of the groups that do not have one value everywhere."""
    names = dict.fromkeys(name for group in groups for name in group.columns)
    return [name for name in names if len({value_text(group.columns.get(name)) for group in groups}) > 1]


def command_lines(groups: Sequence[Group]) -> list[str]:
    """What was typed, each once."""
    lines = [str(chain.identity.get("command_line", "")) for group in groups for chain in group.chains]
    return [line for line in dict.fromkeys(lines) if line]
