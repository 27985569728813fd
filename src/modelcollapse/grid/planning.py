"""The plan of a grid: what its chains share, what is finished, what is to be computed, and what that will take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelcollapse.chain import Generation, chain_generations, goals
from modelcollapse.composition import known_errors
from modelcollapse.console import ancestors_in_order
from modelcollapse.grid.estimates import Estimates, Expected
from modelcollapse.grid.points import Grid, Point
from modelcollapse.store import Piece, Store

FITS = ("base", "classifier", "model", "segment")
"""Kinds of pieces that come out of a fit."""


@dataclass(frozen=True)
class ChainPlan:
    """What one chain of a grid takes."""

    point: Point
    generations: Sequence[Generation]
    wanted: Sequence[Piece]
    """Pieces that must be there at the end."""
    missing: frozenset[Piece]
    """Pieces to compute for it, wherever else they are used."""

    @cached_property
    def ancestry(self) -> Sequence[Piece]:
        """Everything that the wanted pieces are, or are made from, parents first."""
        return ancestors_in_order(self.wanted)


class GridPlan:
    """What the chains of a grid take together.

    Args:
        chains: the plans of the chains.
        store: where their pieces are, or will be.
    """

    def __init__(self, chains: Sequence[ChainPlan], store: Store) -> None:
        self.chains, self.store = chains, store
        self._estimates = Estimates(store)

    @cached_property
    def missing(self) -> Sequence[Piece]:
        """Pieces to compute, each once."""
        return list(dict.fromkeys(piece for chain in self.chains for piece in chain.ancestry if piece in chain.missing))

    @cached_property
    def users(self) -> dict[Piece, tuple[int, ...]]:
        """The chains that a piece is there for, or is to be computed for."""
        users: dict[Piece, list[int]] = {}
        for chain in self.chains:
            for piece in chain.ancestry:
                if piece in chain.missing or self.has(piece):
                    users.setdefault(piece, []).append(chain.point.number)
        return {piece: tuple(numbers) for piece, numbers in users.items()}

    @cached_property
    def naive_fits(self) -> int:
        """Fits that the chains would take if each computed everything itself."""
        return sum(piece.kind in FITS for chain in self.chains for piece in chain.ancestry)

    @cached_property
    def fits(self) -> int:
        """Fits to do."""
        return sum(piece.kind in FITS for piece in self.missing)

    @cached_property
    def _there(self) -> dict[Piece, bool]:
        return {}

    def has(self, piece: Piece) -> bool:
        """Whether the piece is finished; the store is asked once."""
        if piece not in self._there:
            self._there[piece] = self.store.has(piece)
        return self._there[piece]

    @cached_property
    def _expected(self) -> dict[Piece, Expected]:
        return {piece: self._estimates.expected(piece) for piece in self.missing}

    def seconds(self, pieces: Iterable[Piece]) -> float | None:
        """Time that the missing ones among the pieces are expected to take; None where none of them has a timing."""
        known = [self._expected[piece].seconds for piece in pieces if piece in self._expected]
        timed = [seconds for seconds in known if seconds is not None]
        return sum(timed) if timed else None

    @cached_property
    def untimed(self) -> int:
        """Missing pieces of which nothing like them was ever made."""
        return sum(expected.seconds is None for expected in self._expected.values())

    @cached_property
    def bytes(self) -> int:
        """Disk that the missing pieces are expected to take, as far as it is known."""
        return sum(expected.bytes or 0 for expected in self._expected.values())


def plans_of(grid: Grid) -> list[GridPlan]:
    """The plan of the grid; one for each store where the points name several. Nothing is computed or written."""
    chains: dict[Path, list[Point]] = {}
    for point in grid.points:
        chains.setdefault(Path(point.settings.paths.store).expanduser().resolve(), []).append(point)
    plans = []
    for root, points in chains.items():
        store = Store(root)
        plans.append(GridPlan([_chain_plan(point, store) for point in points], store))
    return plans


def _chain_plan(point: Point, store: Store) -> ChainPlan:
    from modelcollapse.execution.trainer import Execution
    from modelcollapse.models import family_for

    settings = point.settings
    with known_errors():
        family = family_for(settings, Execution(settings.trainer, None, lambda generation, line: None))
        generations = chain_generations(settings, family)
        wanted = dict.fromkeys(goal for generation in generations for goal in goals(generation, settings, family))
    return ChainPlan(point, generations, list(wanted), frozenset(store.missing(wanted)))
