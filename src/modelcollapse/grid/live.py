"""The live table of a sweep on a terminal: chains as rows, generations as cells."""

from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modelcollapse.grid.durations import spoken
from modelcollapse.grid.seen import MOST_CELLS, ChainSeen, seconds_left

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
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Draw the chains as they are after so many seconds."""
        self._live.update(drawn(chains, elapsed, self._console.height - LINES_AROUND), refresh=True)

    def close(self) -> None:
        """Leave the last drawing where it is."""
        self._live.stop()


def drawn(chains: Sequence[ChainSeen], elapsed: float, rows: int) -> Group:
    """The table of at most so many chains, and what is to be said of all."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    shown = _shown(chains, max(1, rows))
    for one in shown:
        table.add_row(str(one.chain.number), one.chain.title, cells(one), _doing(one))
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
    return f"{len(chains)} chains: {_counts(chains)}; {finished} of {total} generations in {spoken(elapsed)}{estimate}"


def _legend() -> Text:
    text = Text()
    for (sign, style), meaning in LEGEND:
        text.append(sign, style)
        text.append(f" {meaning}   ", "dim")
    return text
