"""What D_t is composed of: draws from the real rows, from fresh ones, and from what models wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from modelcollapse.regimes.settings import RegimeSettings
from modelcollapse.regimes.shares import exact
from modelcollapse.seeding import Stream

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
    def order(self) -> tuple[int, int]:
        """The place in canonical order: real, fresh, then synthetic sets from the oldest on."""
        return _KINDS.index(self.kind), self.generation or 0


REAL = Source("real")


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
        object.__setattr__(self, "sources", tuple(sorted(self.sources, key=lambda source: source.order)))

    @property
    def synthetic(self) -> bool:
        """Whether models wrote all of these rows."""
        return all(source.kind == "synthetic" for source in self.sources)


def compose(regime: RegimeSettings, generation: int, seed: int, replicate: int = 0) -> tuple[Draw, ...]:
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
    parts = (_shares if regime.pool == "none" else _pool)(regime, generation, stream)
    draws = _weighted(parts) if regime.weighting == "golden_ratio" else [part.draw for part in parts]
    return canonical(draws)


class _Part(NamedTuple):
    draw: Draw
    rows: Fraction


def _pool(regime: RegimeSettings, generation: int, stream: Stream) -> list[_Part]:
    union = [REAL, *_reach(regime, generation)]
    everything = sum((_size(regime, source) for source in union), Fraction(0))
    share = everything if regime.pool == "all" else Fraction(1)
    return _take(regime, union, share, replace(stream, stage="draw.pool"))


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
    sizes = [_size(regime, source) for source in union]
    if share == sum(sizes):
        return [_Part(Draw((source,)), size) for source, size in zip(union, sizes, strict=True)]
    return [_Part(Draw(tuple(union), rows=float(share), stream=stream), share)]


def _weighted(parts: Sequence[_Part]) -> list[Draw]:
    synthetic = sum((part.rows for part in parts if part.draw.synthetic), Fraction(0))
    real = sum((part.rows for part in parts), Fraction(0)) - synthetic
    real_weight = golden_ratio_weight(float(synthetic / real))
    return [
        replace(part.draw, weight=(1 - real_weight) * float(part.rows / synthetic))
        if part.draw.synthetic
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
    return [Source("synthetic", writer) for writer in range(first, generation)]


def _size(regime: RegimeSettings, source: Source) -> Fraction:
    if source.kind == "synthetic" and source.generation is not None:
        return _written(regime, source.generation)
    return Fraction(1)


def _written(regime: RegimeSettings, generation: int) -> Fraction:
    return max(Fraction(1), _latest_rows(regime, generation + 1))


def _latest_rows(regime: RegimeSettings, generation: int) -> Fraction:
    share = regime.latest_share
    if generation == 1:
        share += exact(regime.older)
    return share * generation if regime.growth == "linear" else share


@lru_cache(maxsize=4096)
def synthetic_rows(regime: RegimeSettings, generation: int) -> float:
    """Rows that model `generation` writes, in units of n; `rows_of` makes a count of it.

    At least 1, also where fewer are trained on: a synthetic set is measured as well. More under linear
    growth, or where the latest share exceeds 1.
    """
    return float(_written(regime, generation))


def canonical(draws: Iterable[Draw]) -> tuple[Draw, ...]:
    """The draws in the order of their sources, in which they are written down, counted and trained on."""
    return tuple(sorted(draws, key=lambda draw: [source.order for source in draw.sources]))


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
