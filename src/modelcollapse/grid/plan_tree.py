"""Draws the plan of a grid as one tree: shared pieces once, then every chain's own."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.tree import Tree

from modelcollapse.console import console, megabytes
from modelcollapse.grid.durations import spoken
from modelcollapse.grid.planning import FITS, ChainPlan, GridPlan
from modelcollapse.store import Piece

SEED = "seed="


def print_plan_tree(plan: GridPlan, jobs: int) -> None:
    """Print the plan; ``jobs`` chains run at once."""
    out = console()
    tree = Tree(f"[bold]plan of {_counted(len(plan.chains), 'chain')}[/bold], store {plan.store.root}")
    shared = {piece: users for piece, users in plan.users.items() if len(users) > 1}
    if shared:
        branch = tree.add("shared")
        for line in _shared_lines(plan, shared):
            branch.add(line)
    for heading, lines in _chain_lines(plan, shared):
        branch = tree.add(heading)
        for line in lines:
            branch.add(line)
    out.print(tree)
    for line in _totals(plan, jobs):
        out.print(line, soft_wrap=True)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _shared_lines(plan: GridPlan, shared: dict[Piece, tuple[int, ...]]) -> Iterator[str]:
    """A line for the pieces of one kind of place that as many chains share, whichever chains these are."""
    places: dict[tuple[str, int], list[Piece]] = {}
    for piece, users in shared.items():
        place = piece.label.partition(" · ")[0]
        places.setdefault((place, len(users)), []).append(piece)
    for (place, count), pieces in places.items():
        groups = len({shared[piece] for piece in pieces})
        stages = dict.fromkeys(piece.label.partition(" · ")[2] for piece in pieces)
        names = ", ".join(stage for stage in stages if stage)
        sharers = "all chains" if count == len(plan.chains) else f"{count} chains each"
        times = f"{groups} x " if groups > 1 else ""
        yield f"{times}{place}{f' · {names}' if names else ''}: for {sharers}; {_state(plan, pieces)}"


def _state(plan: GridPlan, pieces: Sequence[Piece]) -> str:
    """What is finished and what is to be computed of some pieces, and how long that takes."""
    absent = [piece for piece in pieces if not plan.has(piece)]
    if not absent:
        return "[green]finished[/green]"
    present = f"{len(pieces) - len(absent)} finished, " if len(absent) < len(pieces) else ""
    fits = sum(piece.kind in FITS for piece in absent)
    fitted = f" ({_counted(fits, 'fit')})" if fits else ""
    return f"{present}[yellow]{_counted(len(absent), 'piece')}{fitted} to compute[/yellow], {_time(plan, absent)}"


def _time(plan: GridPlan, pieces: Iterable[Piece]) -> str:
    seconds = plan.seconds(pieces)
    return "time unknown" if seconds is None else f"about {spoken(seconds)}"


def _chain_lines(plan: GridPlan, shared: dict[Piece, tuple[int, ...]]) -> Iterator[tuple[str, list[str]]]:
    """The chains, those that differ by their seed only under one heading, and those in the same state in one line."""
    headed = groupby(plan.chains, key=lambda chain: " ".join(w for w in chain.point.varied if not w.startswith(SEED)))
    for heading, chains in headed:
        described: dict[str, list[ChainPlan]] = {}
        for chain in chains:
            described.setdefault(_description(plan, chain, shared), []).append(chain)
        lines = [f"{_names(alike)}: {description}" for description, alike in described.items()]
        yield heading or "chains", lines


def _names(chains: Sequence[ChainPlan]) -> str:
    seeds = [str(chain.point.settings.seed) for chain in chains]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}, each"


def _description(plan: GridPlan, chain: ChainPlan, shared: dict[Piece, tuple[int, ...]]) -> str:
    """Ranges of generations in the same state, and what the chain alone has to compute."""
    states = [_generation_state(plan, list(generation.pieces.values()), shared) for generation in chain.generations]
    ranges = []
    first = 0
    for state, run in groupby(states):
        last = first + len(list(run)) - 1
        ranges.append(f"{_range(first, last)} {state}")
        first = last + 1
    own = [piece for piece in chain.ancestry if piece in plan.users and piece not in shared]
    return ", ".join(ranges) + (f"; {_state(plan, own)}" if any(not plan.has(piece) for piece in own) else "")


def _range(first: int, last: int) -> str:
    return f"generation {first}" if first == last else f"generations {first} to {last}"


def _generation_state(plan: GridPlan, pieces: Sequence[Piece], shared: dict[Piece, tuple[int, ...]]) -> str:
    needed = [piece for piece in pieces if piece in plan.users]
    if all(plan.has(piece) for piece in needed):
        return "finished"
    if all(piece in shared for piece in needed):
        return "shared"
    return "in part" if any(plan.has(piece) or piece in shared for piece in needed) else "to compute"


def _totals(plan: GridPlan, jobs: int) -> Iterator[str]:
    finished = sum(plan.has(piece) for piece in plan.users)
    yield (
        f"{_counted(len(plan.missing), 'piece')} to compute, {finished} finished;"
        f" {_counted(plan.fits, 'fit')} to do, {plan.naive_fits} if every chain computed everything itself"
    )
    seconds = plan.seconds(plan.missing)
    if plan.missing:
        at_once = f", with {jobs} chains at once about {spoken(seconds / jobs)}" if seconds and jobs > 1 else ""
        unknown = (
            f"; unknown for {_counted(plan.untimed, 'piece')}, nothing like them was made yet" if plan.untimed else ""
        )
        yield f"time: {'unknown' if seconds is None else f'about {spoken(seconds)}{at_once}{unknown}'}"
        yield f"disk: about {megabytes(plan.bytes)} more"
    yield "nothing was computed or written"
