"""Where the numbers of a report come from: settings that differ, versions, keys of the pieces, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelcollapse.report.chains import ReportChain
from modelcollapse.report.groups import Group, value_text
from modelcollapse.report.states import ChainState

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
    """Role -> key of the last generation's pieces."""


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
    # A segment's time is told once, whatever the number of its generations.
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
