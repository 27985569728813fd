"""What people see while a sweep runs: a live table on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from modelcollapse.grid.folder import PlannedChain, SweepFolder
from modelcollapse.grid.live import LiveTable
from modelcollapse.grid.seen import ChainSeen, seen

POLL_SECONDS = 1.0
ENDED = ("finished", "failed", "stopped")


class Display(Protocol):
    """Shows the chains of a sweep."""

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Show the chains as they are after so many seconds."""

    def close(self) -> None:
        """The last thing was shown."""


@contextmanager
def watched(folder: SweepFolder, chains: Sequence[PlannedChain]) -> Iterator[None]:
    """Show what becomes of the chains until the block ends, by looking at the sweep's folder every second."""
    display: Display = LiveTable() if sys.stdout.isatty() else PlainLines()
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
        self._told: dict[int, ChainSeen] = {}

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Say what is new."""
        for now in chains:
            before = self._told.get(now.chain.number)
            if now.state != "waiting" and (before is None or before.state == "waiting"):
                self._say(now, "started")
            if now.finished > (before.finished if before else 0):
                self._say(now, f"generation {now.finished - 1} of {now.chain.generations} finished")
            if now.state in ENDED and (before is None or before.state not in ENDED):
                self._say(now, f"{now.state}: {now.error}" if now.error else now.state)
            self._told[now.chain.number] = now

    def close(self) -> None:
        """Nothing is left to say."""

    def _say(self, one: ChainSeen, what: str) -> None:
        print(f"{one.chain.number}  {one.chain.title}: {what}", flush=True)
