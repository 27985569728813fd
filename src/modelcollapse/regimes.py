"""Regimes: what generation t trains on.

Words: H is the real training set, n its number of rows, S_t the synthetic set that model t writes, D_t what
model t trains on. D_0 is H in every regime; D_t for t >= 1 is composed of draws from H, from fresh real rows
and from S_0 .. S_{t-1}. The regimes of the field are settings of this one family (`conf/regime/`).

A composition is canonical and knows no regime's name: whatever composes the same training set has the same
recipe, hence the same key in the store. `preserve` with no real share is `replace`, `accumulate` and
`augment` share generation 1, all regimes share generation 0. Importing this module does not import NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from modelcollapse.seeding import Stream
from modelcollapse.settings.reading import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KINDS = ("real", "fresh", "synthetic")


class DrawError(ValueError):
    """Rows were asked for that cannot be had."""


@dataclass(frozen=True)
class RegimeSettings:
    """How D_t is composed for t >= 1. Shares are in units of n, the number of real rows."""

    name: str
    """Label for people and figures; part of no key."""
    real: Annotated[float, Range(low=0)]
    """Real rows."""
    real_source: Literal["kept", "redrawn", "fresh"]
    """`kept`: the same draw from H in every generation. `redrawn`: a new draw from H in each. `fresh`: rows
    never seen before.
    """
    latest: Annotated[float, Range(low=0)] | None
    """Rows of S_{t-1}; null: what `real` and `older` leave of 1 (nothing under a pool). Above 1, each model
    writes that many.
    """
    older: Annotated[float, Range(low=0)]
    """Rows drawn from the union S_0 .. S_{t-2}. While no older set exists (t = 1) this share is taken from
    the latest instead.
    """
    pool: Literal["none", "all", "subsample"]
    """`all`: D_t is H and S_0 .. S_{t-1}, whole. `subsample`: n rows of that union, without replacement."""
    window: Annotated[int, Range(low=1)] | None
    """How many of the latest synthetic sets `older` and `pool` reach back to, S_{t-1} counted; null: all.
    Elsewhere without effect.
    """
    growth: Literal["constant", "linear"]
    """`linear`: model t-1 writes, and model t trains on, t times the rows of `latest`."""
    weighting: Literal["none", "golden_ratio"]
    """`golden_ratio`: the real rows together weigh w = (sqrt(1 + 4k) - 1) / (2k) of 1, k = synthetic / real
    rows (arXiv 2502.18049).
    """

    def problems(self) -> list[str]:
        """What these settings ask for that no composition can give, a sentence each; empty if all is well."""
        found = _share_problems(self) if self.pool == "none" else _pool_problems(self)
        if self.growth == "linear":
            found += _growth_problems(self)
        if self.weighting == "golden_ratio":
            found += _weighting_problems(self)
        return found

    @cached_property
    def latest_share(self) -> Fraction:
        """`latest` with null worked out, exactly: 1 - 0.9 is 0.1."""
        if self.latest is not None:
            return _exact(self.latest)
        return Fraction(0) if self.pool != "none" else 1 - _exact(self.real) - _exact(self.older)


def _share_problems(regime: RegimeSettings) -> list[str]:
    found = []
    if regime.latest is None and regime.latest_share < 0:
        found.append(
            f"regime.latest=null is what regime.real={regime.real} and regime.older={regime.older} leave "
            "of 1: lower these to at most 1 together, or give regime.latest a number"
        )
    if regime.real > 1 and regime.real_source != "fresh":
        found.append(
            f"regime.real={regime.real}: at most 1 with regime.real_source={regime.real_source}, which draws "
            "from the n real rows without replacement; only fresh can be more"
        )
    if regime.older > 1:
        found.append(f"regime.older={regime.older}: at most 1, all that generation 2 has of older sets")
    if regime.older > 0 and regime.window == 1:
        found.append(
            f"regime.window=1: at least 2, or null for all, with regime.older={regime.older}; 1 reaches "
            "back to the latest set only"
        )
    if regime.real == regime.older == regime.latest_share == 0:
        found.append(f"regime.real=0, regime.older=0, regime.latest={regime.latest}: one must be above 0")
    return found


def _pool_problems(regime: RegimeSettings) -> list[str]:
    found = [
        f"regime.{name}={share}: must be 0 with regime.pool={regime.pool}, which takes all sets together"
        for name, share in (("real", regime.real), ("latest", regime.latest), ("older", regime.older))
        if share
    ]
    if regime.real_source == "fresh":
        found.append(
            f"regime.real_source=fresh: must be kept or redrawn with regime.pool={regime.pool}, whose real "
            "rows are H itself"
        )
    return found


def _growth_problems(regime: RegimeSettings) -> list[str]:
    if regime.pool != "none":
        return [f"regime.growth=linear: must be constant with regime.pool={regime.pool}, which grows by itself"]
    found = []
    if regime.older > 0:
        found.append(f"regime.older={regime.older}: must be 0 with regime.growth=linear")
    if regime.latest_share == 0:
        found.append(f"regime.latest={regime.latest}: what grows, so must be above 0 with regime.growth=linear")
    return found


def _weighting_problems(regime: RegimeSettings) -> list[str]:
    if regime.pool == "subsample":
        return [
            "regime.weighting=golden_ratio: must be none with regime.pool=subsample, where the number of "
            "real rows varies by chance and can be 0"
        ]
    found = []
    if regime.pool == "none" and regime.real == 0:
        found.append("regime.real=0: must be above 0 with regime.weighting=golden_ratio")
    if regime.pool == "none" and regime.older == regime.latest_share == 0:
        found.append(
            f"regime.latest={regime.latest}, regime.older={regime.older}: one must be above 0 with "
            "regime.weighting=golden_ratio"
        )
    return found


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


class Rows(NamedTuple):
    """Rows of one source that are trained on."""

    source: Source
    indices: NDArray[np.int64]
    """Row numbers in that source, ascending, each once."""
    weight: float
    """Weight of each of these rows; over all rows of a training set the weights have mean 1."""


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
    older_share = _exact(regime.older) if older else Fraction(0)
    return [
        *_real_rows(regime, stream),
        *_take(regime, older, older_share, replace(stream, stage="draw.older")),
        *_take(regime, [latest], _latest_rows(regime, generation), replace(stream, stage="draw.latest")),
    ]


def _real_rows(regime: RegimeSettings, stream: Stream) -> list[_Part]:
    share = _exact(regime.real)
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
        share += _exact(regime.older)
    return share * generation if regime.growth == "linear" else share


def synthetic_rows(regime: RegimeSettings, generation: int) -> float:
    """Rows that model `generation` writes, in units of n; `rows_of` makes a count of it.

    At least 1, also where fewer are trained on: a synthetic set is measured as well. More under linear
    growth, or where the latest share exceeds 1.
    """
    return float(_written(regime, generation))


def fresh_rows(regime: RegimeSettings, n: int) -> int:
    """Fresh real rows of each generation t >= 1: the size of its set `Source("fresh", t)`."""
    return rows_of(regime.real, n) if regime.pool == "none" and regime.real_source == "fresh" else 0


def reserve_needed(regime: RegimeSettings, generations: int, n: int) -> int:
    """Real rows to set aside for a chain of generations 0 .. `generations`; 0 if none are fresh."""
    return fresh_rows(regime, n) * generations


def reserve_stream(seed: int, replicate: int = 0) -> Stream:
    """What the reserve of a chain is shuffled with, once for all generations."""
    return Stream(seed, 0, "draw.reserve", replicate)


def reserve_rows(reserve_size: int, generation: int, rows: int, stream: Stream) -> NDArray[np.int64]:
    """The row numbers of the reserve, ascending, that are the fresh set of `generation` >= 1.

    The reserve is shuffled by `stream` (`reserve_stream`), and generation t takes the t-th `rows` of it: no
    two generations share one. Raises `DrawError` when the reserve does not reach that far, `ValueError` for a
    stream that changes with the generation.
    """
    if generation < 1 or stream.generation != 0:
        raise ValueError("fresh rows are for generations from 1 on, out of one shuffle for all: see reserve_stream")
    if reserve_size < generation * rows:
        raise DrawError(
            f"data.reserve={reserve_size}: fresh real data up to generation {generation} need at least "
            f"{generation * rows} rows ({generation} times {rows})"
        )
    import numpy as np

    shuffled = np.argsort(_random_keys(reserve_size, stream), kind="stable")
    return np.sort(shuffled[(generation - 1) * rows : generation * rows])


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


def rows_of(share: float, n: int) -> int:
    """`share` times n in whole rows, halves up. A share is the decimal it reads as: 0.145 of 100 is 15."""
    return _rounded(_exact(share) * n)


def count_rows(draws: Iterable[Draw], sizes: Mapping[Source, int], n: int) -> list[int]:
    """The rows of each draw, in canonical order; `sizes` are the rows that each source holds.

    The running total of the shares is what is rounded (halves up). So each count is less than one row off its
    share, a lone or first share is simply rounded, and shares that add up to 1 give exactly n rows. Raises
    `DrawError` for a share that comes to no row, for more rows than the sources hold, and for a fresh set
    that does not hold just the rows asked for.
    """
    counts, total = [], Fraction(0)
    for draw in canonical(draws):
        before, total = total, total + _exact(draw.rows or 0)
        held = sum(sizes[source] for source in draw.sources)
        count = held if draw.rows is None else _rounded(total * n) - _rounded(before * n)
        _check_count(draw, count, held)
        counts.append(count)
    return counts


def _check_count(draw: Draw, count: int, held: int) -> None:
    where = ", ".join(
        source.kind if source.generation is None else f"{source.kind} {source.generation}" for source in draw.sources
    )
    if count == 0:
        raise DrawError(f"a share of {'all' if draw.rows is None else draw.rows} of [{where}] comes to no row at all")
    if count > held:
        raise DrawError(f"{count} rows are to be drawn without replacement from [{where}], which hold {held}")
    if draw.stream is None and count < held:
        raise DrawError(f"[{where}] holds {held} rows where just {count} are asked for, and no stream says which")


def resolve(draws: Iterable[Draw], sizes: Mapping[Source, int], n: int) -> list[Rows]:
    """The rows of a whole training set, with the weight of each row; weights have mean 1 over all rows.

    `sizes` are the rows that each source holds, n those of H. Sources that no row fell on are left out. Every
    choice of a draw's rows is equally likely, and a smaller draw from the same stream is part of a larger
    one, so regimes that differ in a share only are compared on nested draws. Raises `DrawError` (see
    `count_rows`) before anything is drawn.
    """
    draws = canonical(draws)
    counts = count_rows(draws, sizes, n)
    total = sum(counts)
    return [
        Rows(source, indices, 1.0 if draw.weight is None else draw.weight * total / count)
        for draw, count in zip(draws, counts, strict=True)
        for source, indices in _drawn(draw, sizes, count)
    ]


def _drawn(draw: Draw, sizes: Mapping[Source, int], count: int) -> list[tuple[Source, NDArray[np.int64]]]:
    import numpy as np

    ends = np.cumsum([sizes[source] for source in draw.sources])
    if draw.stream is None:
        chosen = np.arange(count)
    else:
        chosen = np.sort(np.argpartition(_random_keys(int(ends[-1]), draw.stream), count - 1)[:count])
    pieces = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = [0, *ends[:-1].tolist()]
    return [
        (source, piece - start) for source, piece, start in zip(draw.sources, pieces, starts, strict=True) if len(piece)
    ]


def _random_keys(rows: int, stream: Stream) -> NDArray[np.uint64]:
    # The bit stream itself: NumPy promises to keep it, unlike what its sampling methods make of it.
    return stream.numpy().bit_generator.random_raw(rows)


def _exact(share: float) -> Fraction:
    """The decimal that a share is written as, so that 1 - 0.9 is 0.1 and 0.1 + 0.2 is 0.3."""
    return Fraction(repr(float(share)))


def _rounded(rows: Fraction) -> int:
    return math.floor(rows + Fraction(1, 2))
