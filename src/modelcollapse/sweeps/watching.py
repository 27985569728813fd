"""The display of a sweep while it runs: the state of every chain, as a table on a terminal or as lines."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modelcollapse.console import console as standard_output
from modelcollapse.errors import count_of, spoken
from modelcollapse.record import StageProgress, read_lines, read_progress
from modelcollapse.record.sweep_folder import PlannedChain, State, SweepFolder, now

MOST_CELLS = 40
"""Chains with more generations are followed by their share of finished generations."""


@dataclass(frozen=True)
class ChainSeen:
    """A chain as it is now."""

    chain: PlannedChain
    state: State
    finished: int
    """Generations, those from the store among them."""
    from_store: frozenset[int]
    """Generations of which nothing was computed now; empty for chains with many."""
    stage: StageProgress | None
    seconds: float
    """How long its process has run."""
    error: str | None

    @property
    def total(self) -> int:
        """Generations that the chain will have."""
        return self.chain.generations + 1

    @property
    def computed(self) -> int:
        """Finished generations that were computed now."""
        return self.finished - len(self.from_store)


def seen(folder: SweepFolder, chain: PlannedChain) -> ChainSeen:
    """Look at a chain."""
    process = folder.process(chain.number)
    if process is None:
        return ChainSeen(chain, "waiting", 0, frozenset(), None, 0.0, None)
    until = datetime.fromisoformat(process.ended or now())
    finished = folder.generations(chain.number)
    return ChainSeen(
        chain=chain,
        state=process.state,
        finished=finished,
        from_store=_from_store(folder, chain, finished),
        stage=read_progress(folder.chain(chain.number)) if process.state == "running" else None,
        seconds=(until - datetime.fromisoformat(process.started)).total_seconds(),
        error=process.error,
    )


def _from_store(folder: SweepFolder, chain: PlannedChain, finished: int) -> frozenset[int]:
    """Generations none of whose artifacts was computed now; a segment is timed once, with its first generation."""
    if chain.generations >= MOST_CELLS:
        return frozenset()
    try:
        timings = read_lines(folder.chain(chain.number) / "timings.jsonl")
        provenance = read_lines(folder.chain(chain.number) / "provenance.jsonl")
    except FileNotFoundError:
        return frozenset()
    computed = {line["key"] for line in timings if line["computed"]}
    return frozenset(
        line["generation"]
        for line in provenance
        if line["generation"] < finished and not computed.intersection(map(str, line.values()))
    )


def seconds_left(chains: Sequence[ChainSeen], elapsed: float) -> float | None:
    """Time until all chains are finished, at the pace of the generations computed so far; None where there is none."""
    computed = sum(one.computed for one in chains)
    left = sum(one.total - one.finished for one in chains if one.state in ("waiting", "running"))
    return elapsed * left / computed if computed and left else None


MADE, STORED, MAKING, WAITING, FAILED = ("■", "green"), ("□", "cyan"), ("▸", "yellow"), ("·", "dim"), ("x", "red")
LEGEND = (
    (MADE, "computed"),
    (STORED, "from the store"),
    (MAKING, "being made"),
    (WAITING, "waiting"),
    (FAILED, "failed"),
)
LINES_AROUND = 6
"""Lines of the terminal that are not for chains."""
FIRST = ("running", "failed", "stopped", "finished", "waiting")
"""Which chains are shown where there is no room for all."""


class LiveTable:
    """Draws the chains anew whenever they are shown."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or standard_output()
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Draw the chains as they are after so many seconds."""
        self._live.update(drawn(chains, elapsed, self._console.height - LINES_AROUND), refresh=True)

    def close(self) -> None:
        """Leave the last drawing where it is."""
        self._live.stop()


def drawn(chains: Sequence[ChainSeen], elapsed: float, rows: int) -> Group:
    """The table of at most so many chains, and a summary of all."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    shown = _shown(chains, max(1, rows))
    for one in shown:
        table.add_row(str(one.chain.number), Text(one.chain.title), cells(one), _doing(one))
    left_out = [one for one in chains if one not in shown]
    more = [Text(f"and {_counts(left_out)}", style="dim")] if left_out else []
    return Group(table, *more, Text(_summary(chains, elapsed)), _legend())


def _shown(chains: Sequence[ChainSeen], rows: int) -> list[ChainSeen]:
    if len(chains) <= rows:
        return list(chains)
    urgent = sorted(chains, key=lambda one: FIRST.index(one.state))[: max(1, rows - 1)]
    return sorted(urgent, key=lambda one: one.chain.number)


def cells(one: ChainSeen) -> Text:
    """A cell a generation; of a long chain the share that is finished."""
    if one.total > MOST_CELLS:
        return Text(f"{100 * one.finished // one.total:3d} % of {one.total}")
    text = Text()
    for generation in range(one.total):
        text.append(*_cell(one, generation))
    return text


def _cell(one: ChainSeen, generation: int) -> tuple[str, str]:
    if generation < one.finished:
        return STORED if generation in one.from_store else MADE
    if generation == one.finished and one.state in ("running", "failed"):
        return MAKING if one.state == "running" else FAILED
    return WAITING


def _doing(one: ChainSeen) -> Text:
    if one.state == "running" and one.stage:
        return Text(f"{one.stage.label}, {one.stage.share:.0%}, {spoken(one.stage.seconds_left)} left")
    if one.state == "failed":
        return Text(one.error or "failed", style="red")
    if one.state == "waiting":
        return Text("waiting", style="dim")
    return Text(
        f"{'running for' if one.state == 'running' else one.state + ' after'} {spoken(one.seconds)}", style="dim"
    )


def _counts(chains: Iterable[ChainSeen]) -> str:
    states = [one.state for one in chains]
    return ", ".join(f"{states.count(state)} {state}" for state in FIRST if state in states)


def _summary(chains: Sequence[ChainSeen], elapsed: float) -> str:
    finished, total = sum(one.finished for one in chains), sum(one.total for one in chains)
    left = seconds_left(chains, elapsed)
    estimate = "" if left is None else f", about {spoken(left)} left"
    generations = f"{finished} of {count_of(total, 'generation')}"
    return f"{count_of(len(chains), 'chain')}: {_counts(chains)}; {generations} in {spoken(elapsed)}{estimate}"


def _legend() -> Text:
    text = Text()
    for (sign, style), meaning in LEGEND:
        text.append(sign, style)
        text.append(f" {meaning}   ", "dim")
    return text


POLL_SECONDS = 1.0
ENDED = ("finished", "failed", "stopped")


class Display(Protocol):
    """Shows the chains of a sweep."""

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Show the chains as they are after so many seconds."""

    def close(self) -> None:
        """The last thing was shown."""


@contextmanager
def watched(folder: SweepFolder, chains: Sequence[PlannedChain], display: Display | None = None) -> Iterator[None]:
    """Show what becomes of the chains until the block ends, by looking at the sweep's folder every second.

    Without a display they are shown as a table on a terminal, and elsewhere as lines.
    """
    display = display or (LiveTable() if sys.stdout.isatty() else PlainLines())
    started, ended = time.monotonic(), threading.Event()
    last: dict[int, ChainSeen] = {}

    def look() -> None:
        for chain in chains:
            # A chain that has ended does not change any more.
            if chain.number not in last or last[chain.number].state not in ENDED:
                last[chain.number] = seen(folder, chain)
        display.show([last[chain.number] for chain in chains], time.monotonic() - started)

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()
        display.close()


class PlainLines:
    """A line whenever a chain starts, finishes a generation, or ends."""

    def __init__(self) -> None:
        self._shown: dict[int, ChainSeen] = {}

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Print what is new."""
        for seen in chains:
            before = self._shown.get(seen.chain.number)
            if seen.state != "waiting" and (before is None or before.state == "waiting"):
                self._print(seen, "started")
            if seen.finished > (before.finished if before else 0):
                self._print(seen, f"generation {seen.finished - 1} of {seen.chain.generations} finished")
            if seen.state in ENDED and (before is None or before.state not in ENDED):
                self._print(seen, f"{seen.state}: {seen.error}" if seen.error else seen.state)
            self._shown[seen.chain.number] = seen

    def close(self) -> None:
        """Nothing is left to print."""

    def _print(self, one: ChainSeen, what: str) -> None:
        print(f"{one.chain.number}  {one.chain.title}: {what}", flush=True)
