"""The state of a sweep, kept in its folder: which chains there are, which run, how they ended.

The command that was typed, the launcher's jobs on whatever machine, and reports share state through these files alone,
so that every launcher works on a file system that all of them see:

====================  =========================================================================
``grid.json``         the command, and every chain: number, overrides, id
``<n>/``              run folder of chain n, as train.py writes it
``<n>/output.log``    standard output and error of its process
``<n>/process.json``  its process: host, id, times, exit code, error
``devices/``          locks: which chain uses which of several GPUs
``permit``            names the sweep whose jobs may run; where it is gone or names another one,
                      jobs end, and those that have not begun do not begin
====================  =========================================================================
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from modelcollapse.record import GENERATIONS_FILE
from modelcollapse.record.claiming import forget_other_chain
from modelcollapse.record.run_state import ERROR_FILE, PROGRESS_FILE
from modelcollapse.store.files import write_whole

GRID_FILE, PERMIT_FILE, OUTPUT_FILE, PROCESS_FILE = "grid.json", "permit", "output.log", "process.json"

State = Literal["waiting", "running", "finished", "failed", "stopped"]


@dataclass(frozen=True)
class PlannedChain:
    """A chain of a sweep, whether it has begun or not."""

    number: int
    overrides: tuple[str, ...]
    """The arguments of ``train.py`` that run it alone."""
    varied: tuple[str, ...]
    """Those of the overrides that differ between the sweep's chains."""
    id: str
    """The chain's stable id, as in ``chain.json``."""
    generations: int
    """Number of its last generation."""
    devices: int = 1
    """Devices that each of its fits uses."""

    @property
    def title(self) -> str:
        """The chain's name among the others of its sweep."""
        return " ".join(self.varied) or "the chain"


@dataclass(frozen=True)
class ChainProcess:
    """The process that runs, or ran, a chain."""

    host: str
    runner: int
    """Process id of the launcher's job that waits for it."""
    started: str
    """UTC, ISO 8601."""
    process: int
    """Process id of the chain itself."""
    ended: str | None = None
    """UTC, ISO 8601; None while it runs."""
    exit_code: int | None = None
    """Negative where a signal ended it; None while it runs."""
    error: str | None = None
    """In one line, where it failed."""
    stopped: bool = False
    """Whether it was ended because the sweep was."""
    began: str | None = None
    """When the process of that id began, as the kernel counts; None where that was not written down."""

    @property
    def state(self) -> State:
        """The state of the chain that follows from how the process ended."""
        if self.ended is None:
            return "running"
        if self.exit_code == 0:
            return "finished"
        return "stopped" if self.stopped else "failed"


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep."""

    path: Path

    def begin(self, command: str, chains: Sequence[PlannedChain]) -> str:
        """Write which chains there will be, and remove what an earlier sweep left here; returns the permit."""
        self.path.mkdir(parents=True, exist_ok=True)
        permit = uuid4().hex
        # First of all, so that jobs of an earlier sweep which are still about end.
        (self.path / PERMIT_FILE).write_text(permit, encoding="utf-8")
        for chain in chains:
            for stale in (OUTPUT_FILE, PROCESS_FILE, GENERATIONS_FILE, PROGRESS_FILE, ERROR_FILE):
                (self.chain(chain.number) / stale).unlink(missing_ok=True)
            forget_other_chain(self.chain(chain.number), chain.id)
        content = {"command": command, "started": now(), "chains": [asdict(chain) for chain in chains]}
        _write(self.path / GRID_FILE, content)
        return permit

    def chains(self) -> list[PlannedChain]:
        """Every chain of the sweep, in order."""
        content = json.loads((self.path / GRID_FILE).read_text(encoding="utf-8"))
        return [
            PlannedChain(**{**chain, "overrides": tuple(chain["overrides"]), "varied": tuple(chain["varied"])})
            for chain in content["chains"]
        ]

    def chain(self, number: int) -> Path:
        """The run folder of a chain."""
        return self.path / str(number)

    def output(self, number: int) -> Path:
        """The file with standard output and error of a chain's process."""
        return self.chain(number) / OUTPUT_FILE

    def generations(self, number: int) -> int:
        """How many generations a chain has finished in this sweep, those from the store among them."""
        try:
            return (self.chain(number) / GENERATIONS_FILE).read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def write_process(self, number: int, process: ChainProcess) -> None:
        """Write the state of a chain's process."""
        _write(self.chain(number) / PROCESS_FILE, asdict(process))

    def process(self, number: int) -> ChainProcess | None:
        """The process of a chain; None where it has not begun."""
        try:
            return ChainProcess(**json.loads((self.chain(number) / PROCESS_FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def state(self, number: int) -> State:
        """The state of a chain."""
        process = self.process(number)
        return "waiting" if process is None else process.state

    def may_run(self, permit: str) -> bool:
        """Whether the jobs of the sweep that was given the permit may run."""
        try:
            return (self.path / PERMIT_FILE).read_text(encoding="utf-8") == permit
        except FileNotFoundError:
            return False

    def end(self, permit: str) -> None:
        """Take the permit back: the jobs that hold it end."""
        if self.may_run(permit):
            (self.path / PERMIT_FILE).unlink(missing_ok=True)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, content: Any) -> None:
    """Write a file that readers see whole."""
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
