"""What can be seen of a running chain from outside: read from its run folder, whoever runs it and wherever."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelcollapse.grid.folder import PlannedChain, State, SweepFolder, now
from modelcollapse.record import read_lines

MOST_CELLS = 40
"""Chains with more generations are followed by their share of finished generations."""
PROGRESS_LINE = re.compile(r"^  (?P<label>.+): (?P<done>\d+)/(?P<total>\d+), about (?P<left>\d+) s left$")
TAIL_BYTES = 4_000


@dataclass(frozen=True)
class Stage:
    """What a chain is at, by the progress line that its process said last."""

    label: str
    share: float
    seconds_left: float


@dataclass(frozen=True)
class ChainSeen:
    """A chain as it is now."""

    chain: PlannedChain
    state: State
    finished: int
    """Generations, those from the store among them."""
    from_store: frozenset[int]
    """Generations of which nothing was computed now; not told of chains with many."""
    stage: Stage | None
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
        stage=_stage(folder, chain.number) if process.state == "running" else None,
        seconds=(until - datetime.fromisoformat(process.started)).total_seconds(),
        error=process.error,
    )


def _from_store(folder: SweepFolder, chain: PlannedChain, finished: int) -> frozenset[int]:
    """Generations none of whose pieces was computed now; a segment is timed once, with the first of its generations."""
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


def _stage(folder: SweepFolder, number: int) -> Stage | None:
    """The last line, where it is one of progress: what the chain says of a finished generation comes after them."""
    with folder.output(number).open("rb") as output:
        output.seek(max(0, folder.output(number).stat().st_size - TAIL_BYTES))
        lines = output.read().decode(errors="replace").splitlines()
    match = PROGRESS_LINE.match(lines[-1]) if lines else None
    if match is None:
        return None
    return Stage(match["label"], int(match["done"]) / max(1, int(match["total"])), float(match["left"]))


def seconds_left(chains: Sequence[ChainSeen], elapsed: float) -> float | None:
    """Time until all chains are finished, at the pace of the generations computed so far; None where there is none."""
    computed = sum(one.computed for one in chains)
    left = sum(one.total - one.finished for one in chains if one.state in ("waiting", "running"))
    return elapsed * left / computed if computed and left else None
