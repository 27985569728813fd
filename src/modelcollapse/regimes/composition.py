"""What D_t is composed of: draws from the real rows, from fresh ones, and from what models wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from modelcollapse.regimes.shares import exact
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    from modelcollapse.regimes.settings import RegimeSettings

_KINDS = ("real", "fresh", "synthetic")


@dataclass(frozen=True)
class Source:
    """A set that rows come from."""

    kind: Literal["real", "fresh", "synthetic"]
    """`real`: H. `fresh`: real rows set aside or made for one generation. `synthetic`: what a model wrote."""
    generation: int | None = None
    """`real`: None. `fresh`: the generation that it is for. `synthetic`: the generation that wrote it."""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or (self.kind == "real") != (self.generation is None):
            raise ValueError(f"no such source: {self.kind} of generation {self.generation}")

    @property
    def role(self) -> str:
        """The role under which a fit knows the set."""
        return self.kind if self.generation is None else f"{self.kind}_{self.generation}"

    @cached_property
    def order(self) -> tuple[int, int]:
        """The place in canonical order: real, fresh, then synthetic sets from the oldest on."""
        return _KINDS.index(self.kind), self.generation or 0


REAL = Source("real")
LATEST = -1
"""In what a rule composes, generations below 0 count back from the one that trains."""
KEPT = Stream(0, 0, "kept")
"""In what a rule composes, marks a draw that is the same for every generation."""


@dataclass(frozen=True)
class Draw:
    """Rows out of the union of some sources, without replacement."""

    sources: tuple[Source, ...]
    """The sets whose rows are laid end to end, put into canonical order whatever order they are given in."""
    rows: float | None = None
    """Rows to take, in units of n; None: all of them."""
    stream: Stream | None = None
    """What the rows are drawn with. None where nothing is random: all rows, or a fresh set, which holds just
    the rows asked for.
    """
    weight: float | None = None
    """Share of all weight that these rows have together; None: every row weighs the same."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(sorted(self.sources, key=attrgetter("order"))))

    # ---- what a rule composes of: shares of named sets, relative to the generation that trains ---------------------

    @classmethod
    def real(cls, share: float = 1.0, *, kept: bool = False, weight: float | None = None) -> Draw:
        """A share of H; ``kept`` draws the same rows for every generation."""
        return cls((REAL,), share, KEPT if kept else None, weight)

    @classmethod
    def fresh(cls, share: float, *, weight: float | None = None) -> Draw:
        """Real rows never seen before; the rule's ``fresh_share`` says how many are set aside for each generation."""
        return cls((Source("fresh", LATEST),), share, None, weight)

    @classmethod
    def latest(cls, share: float = 1.0, *, weight: float | None = None) -> Draw:
        """A share, in units of n, of what the previous generation's model wrote."""
        return cls((Source("synthetic", LATEST),), share, None, weight)

    @classmethod
    def synthetic(cls, generations: Iterable[int], share: float | None = None, *, weight: float | None = None) -> Draw:
        """A share of the union of synthetic sets, or all of it; -1 is the previous generation, -2 the one before it."""
        return cls(tuple(Source("synthetic", number) for number in generations), share, None, weight)

    @classmethod
    def pool(cls, generations: Iterable[int], share: float | None = None, *, weight: float | None = None) -> Draw:
        """A share of the union of H and the synthetic sets of these generations, or all of it."""
        return cls((REAL, *(Source("synthetic", number) for number in generations)), share, None, weight)

    @property
    def is_synthetic(self) -> bool:
        """Whether models wrote all of these rows."""
        # Synthetic sets are the last in canonical order.
        return self.sources[0].kind == "synthetic"


class Regime(Protocol):
    """What each generation trains on: settings of the shares (RegimeSettings), or a registered rule (RuleRegime)."""

    @property
    def name(self) -> str:
        """Label for people and figures."""
        ...

    @property
    def fresh(self) -> Fraction:
        """Real rows set aside for each generation, in units of n."""
        ...

    @property
    def accumulates(self) -> bool:
        """Whether every generation trains on H and all synthetic sets so far, whole and unweighted."""
        ...

    def problems(self) -> list[str]:
        """What is wrong between its settings, a message a problem."""
        ...

    def draws(self, generation: int, stream: Stream) -> Sequence[Draw]:
        """The draws of D_t for t = ``generation`` >= 1; ``stream`` is renamed for each that is random."""
        ...

    def written(self, generation: int) -> Fraction:
        """Rows that model ``generation`` writes, in units of n."""
        ...

    def kinds_of_generation(self, generations: int) -> Iterable[int]:
        """Generations of 1 .. ``generations`` that are composed like all others: what is right for them is for all."""
        ...

    def small_shares(self, generations: int, real_rows: int) -> list[str]:
        """Settings whose share of so many real rows comes to no row, a message each."""
        ...


def compose(regime: Regime, generation: int, seed: int, replicate: int = 0) -> tuple[Draw, ...]:
    """The composition of D_t, t = `generation`, the same for all settings that mean the same training set.

    Shares of zero are left out, a share that is all of its sources is taken whole and needs no stream, draws
    are in the order of their sources. Raises `ValueError` for a negative generation or for settings with
    `problems`.
    """
    if generation < 0:
        raise ValueError(f"generations count from 0, not from {generation}")
    if generation == 0:
        return (Draw((REAL,)),)
    if problems := regime.problems():
        raise ValueError("; ".join(problems))
    stream = Stream(seed, generation, "draw", replicate)
    return canonical(regime.draws(generation, stream))


def shared_draws(regime: RegimeSettings, generation: int, stream: Stream) -> list[Draw]:
    """The draws that the settings of shares ask for."""
    parts = (_shares if regime.pool == "none" else _pool)(regime, generation, stream)
    return _weighted(parts) if regime.weighting == "golden_ratio" else [part.draw for part in parts]


class _Part(NamedTuple):
    draw: Draw
    rows: Fraction


def _pool(regime: RegimeSettings, generation: int, stream: Stream) -> list[_Part]:
    union = [REAL, *_reach(regime, generation)]
    if regime.pool == "all":
        return _whole(regime, union)
    return _take(regime, union, Fraction(1), replace(stream, stage="draw.pool"))


def _shares(regime: RegimeSettings, generation: int, stream: Stream) -> list[_Part]:
    latest = Source("synthetic", generation - 1)
    # Not even listed where nothing is drawn from them: a chain may be thousands of generations long.
    older = _reach(regime, generation)[:-1] if regime.older else []
    older_share = exact(regime.older) if older else Fraction(0)
    return [
        *_real_rows(regime, stream),
        *_take(regime, older, older_share, replace(stream, stage="draw.older")),
        *_take(regime, [latest], _latest_rows(regime, generation), replace(stream, stage="draw.latest")),
    ]


def _real_rows(regime: RegimeSettings, stream: Stream) -> list[_Part]:
    share = exact(regime.real)
    if regime.real_source == "fresh" and share:
        return [_Part(Draw((Source("fresh", stream.generation),), rows=float(share)), share)]
    # A kept draw is generation 0's, whichever generation asks for it.
    drawn_at = 0 if regime.real_source == "kept" else stream.generation
    return _take(regime, [REAL], share, replace(stream, stage="draw.real", generation=drawn_at))


def _take(regime: RegimeSettings, union: Sequence[Source], share: Fraction, stream: Stream) -> list[_Part]:
    """`share` out of the union: nothing, each source whole, or one random draw."""
    if share == 0:
        return []
    # Every set holds n rows or more, so that a smaller share than there are sets is never all of them.
    if share >= len(union) and share == _rows(regime, union):
        return _whole(regime, union)
    return [_Part(Draw(tuple(union), rows=float(share), stream=stream), share)]


def _whole(regime: RegimeSettings, union: Sequence[Source]) -> list[_Part]:
    """All rows of the union; what models wrote is one draw, as long as nothing weighs it apart."""
    real = [(source,) for source in union if source.kind != "synthetic"]
    written = tuple(union[len(real) :])
    groups = [*real, written] if written else real
    return [_Part(Draw(group), _rows(regime, group)) for group in groups]


def _rows(regime: RegimeSettings, sources: Sequence[Source]) -> Fraction:
    """Rows of the sources together, in units of n; a long chain has thousands of sets of the same size."""
    if regime.growth == "constant" and regime.latest_share <= 1 and regime.older == 0:
        return Fraction(len(sources))
    return sum((_size(regime, source) for source in sources), Fraction(0))


def _weighted(parts: Sequence[_Part]) -> list[Draw]:
    synthetic = sum((part.rows for part in parts if part.draw.is_synthetic), Fraction(0))
    real = sum((part.rows for part in parts), Fraction(0)) - synthetic
    real_weight = golden_ratio_weight(float(synthetic / real))
    return [
        replace(part.draw, weight=(1 - real_weight) * float(part.rows / synthetic))
        if part.draw.is_synthetic
        else replace(part.draw, weight=real_weight * float(part.rows / real))
        for part in parts
    ]


def golden_ratio_weight(k: float) -> float:
    """The share of all weight that the real rows get when there are k > 0 synthetic rows to a real one.

    w = (sqrt(1 + 4k) - 1) / (2k), the weighting that minimises the limiting error when each generation trains
    on new real rows and on rows of the model before it (He, Xu, Cheng: arXiv 2502.18049); 0.618, the inverse
    golden ratio, at k = 1.
    """
    return (math.sqrt(1 + 4 * k) - 1) / (2 * k)


def _reach(regime: RegimeSettings, generation: int) -> list[Source]:
    """The synthetic sets that generation t can draw from, oldest first; never empty for t >= 1."""
    first = 0 if regime.window is None else max(0, generation - regime.window)
    return [_written_by(writer) for writer in range(first, generation)]


@cache
def _written_by(generation: int) -> Source:
    """The synthetic set of a generation: a long chain names the same ones over and over."""
    return Source("synthetic", generation)


def _size(regime: RegimeSettings, source: Source) -> Fraction:
    if source.kind == "synthetic" and source.generation is not None:
        return regime.written(source.generation)
    return Fraction(1)


@lru_cache(maxsize=4096)
def shared_rows(regime: RegimeSettings, generation: int) -> Fraction:
    """Rows that model ``generation`` writes under settings of shares, in units of n."""
    return max(Fraction(1), _latest_rows(regime, generation + 1))


def _latest_rows(regime: RegimeSettings, generation: int) -> Fraction:
    share = regime.latest_share
    if generation == 1:
        share += exact(regime.older)
    return share * generation if regime.growth == "linear" else share


def synthetic_rows(regime: Regime, generation: int) -> float:
    """Rows that model `generation` writes, in units of n; `rows_of` makes a count of it.

    At least 1, also where fewer are trained on: a synthetic set is measured as well. More under linear
    growth, or where the latest share exceeds 1.
    """
    return float(regime.written(generation))


def canonical(draws: Iterable[Draw]) -> tuple[Draw, ...]:
    """The draws in the order of their sources, in which they are written down, counted and trained on.

    Synthetic sets that are taken whole, one after the other and unweighted, are one draw.
    """
    joined: list[Draw] = []
    for draw in sorted(draws, key=lambda draw: (draw.sources[0].order, draw.sources[-1].order, len(draw.sources))):
        if joined and _is_whole(draw) and _is_whole(joined[-1]):
            joined[-1] = Draw((*joined[-1].sources, *draw.sources))
        else:
            joined.append(draw)
    return tuple(joined)


def _is_whole(draw: Draw) -> bool:
    return draw.is_synthetic and draw.rows is None and draw.stream is None and draw.weight is None


def compositions_digest(compositions: Mapping[int, Sequence[Draw]], rows: Callable[[int], float]) -> str:
    """A digest of what consecutive generations train on, the same for all regimes that mean the same training sets.

    Of every generation it holds every draw, and how many rows each set was written with (``rows`` of the generation
    that wrote it). Spelled out it would be as long as the chain is squared where a regime accumulates; runs of
    generations are therefore named by their ends.
    """
    text = [[generation, _drawn_sources(draws, rows)] for generation, draws in sorted(compositions.items())]
    return sha256(json.dumps(text, separators=(",", ":")).encode()).hexdigest()


def _drawn_sources(draws: Sequence[Draw], rows: Callable[[int], float]) -> list[Any]:
    return [
        [_runs(draw.sources, rows), draw.rows, None if draw.stream is None else draw.stream.recipe(), draw.weight]
        for draw in canonical(draws)
    ]


def _runs(sources: Sequence[Source], rows: Callable[[int], float]) -> list[list[Any]]:
    """Sources in canonical order as [kind, first, last, rows]: consecutive generations of as many rows in one."""
    runs: list[list[Any]] = []
    for source in sources:
        written = rows(source.generation) if source.kind == "synthetic" and source.generation is not None else None
        last = runs[-1] if runs else None
        if last and last[0] == source.kind and last[3] == written and source.generation == (last[2] or 0) + 1:
            last[2] = source.generation
        else:
            runs.append([source.kind, source.generation, source.generation, written])
    return runs


def composition_recipe(draws: Iterable[Draw], key_of: Callable[[Source], str]) -> list[dict[str, Any]]:
    """The composition as JSON for the key of what trains on it, its sources named by their own keys."""
    return [
        {
            "sources": [key_of(source) for source in draw.sources],
            "rows": draw.rows,
            "stream": None if draw.stream is None else draw.stream.recipe(),
            "weight": draw.weight,
        }
        for draw in canonical(draws)
    ]
