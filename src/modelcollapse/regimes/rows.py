"""Resolves a composition: the row numbers that it takes of each source, and their weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from modelcollapse.regimes.composition import Draw, Source, canonical
from modelcollapse.regimes.shares import exact, whole
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DrawError(ValueError):
    """A composition asks for rows that are not available."""


class Rows(NamedTuple):
    """Rows of one source that are trained on."""

    source: Source
    indices: NDArray[np.int64]
    """Row numbers in that source, ascending, each once."""
    weight: float
    """Weight of each of these rows; over all rows of a training set the weights have mean 1."""
    factors: NDArray[np.float64] | None = None
    """What ``weight`` is multiplied by for each row, mean 1 over the rows of a draw; None where all weigh the same."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each row."""
        import numpy as np

        alike = np.full(len(self.indices), self.weight)
        return alike if self.factors is None else alike * self.factors


def count_rows(draws: Iterable[Draw], sizes: Mapping[Source, int], n: int) -> list[int]:
    """The rows of each draw, in canonical order; `sizes` are the rows that each source holds.

    The running total of the shares is what is rounded (halves up). So each count is less than one row off its
    share, a lone or first share is simply rounded, and shares that add up to 1 give exactly n rows. Raises
    `DrawError` for a share that comes to no row, for more rows than the sources hold, and for a fresh set
    that does not hold just the rows asked for.
    """
    counts, total = [], Fraction(0)
    for draw in canonical(draws):
        before, total = total, total + exact(draw.rows or 0)
        held = sum(sizes[source] for source in draw.sources)
        count = held if draw.rows is None else whole(total * n) - whole(before * n)
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


def resolve(
    draws: Iterable[Draw],
    sizes: Mapping[Source, int],
    n: int,
    place_weights: Mapping[Source, NDArray[np.float64] | None] = MappingProxyType({}),
) -> list[Rows]:
    """The rows of a whole training set, with the weight of each row; weights have mean 1 over all rows.

    `sizes` are the rows that each source holds, n those of H. `place_weights` are what the rows of a source weigh
    beside each other, where a selection weighed them: they multiply the weights of a draw's rows, which are scaled so
    that the rows together weigh what they would without. Sources that no row fell on are left out. Every
    choice of a draw's rows is equally likely, and a smaller draw from the same stream is part of a larger
    one, so regimes that differ in a share only are compared on nested draws. Raises `DrawError` (see
    `count_rows`) before anything is drawn.
    """
    draws = canonical(draws)
    counts = count_rows(draws, sizes, n)
    total = sum(counts)
    found = []
    for draw, count in zip(draws, counts, strict=True):
        weight = 1.0 if draw.weight is None else draw.weight * total / count
        rows = [Rows(source, indices, weight) for source, indices in _drawn(draw, sizes, count)]
        found += _weighed(rows, place_weights)
    return found


def _weighed(rows: list[Rows], place_weights: Mapping[Source, NDArray[np.float64] | None]) -> list[Rows]:
    """The rows of one draw with their factors, if a source of theirs has weights."""
    import numpy as np

    weights = [place_weights.get(part.source) for part in rows]
    if all(each is None for each in weights):
        return rows
    pairs = list(zip(rows, weights, strict=True))
    factors = [np.ones(len(part.indices)) if each is None else each[part.indices] for part, each in pairs]
    mean = np.concatenate(factors).mean()
    return [part._replace(factors=each / mean) for part, each in zip(rows, factors, strict=True)]


def _drawn(draw: Draw, sizes: Mapping[Source, int], count: int) -> list[tuple[Source, NDArray[np.int64]]]:
    import numpy as np

    ends = np.cumsum([sizes[source] for source in draw.sources])
    if draw.stream is None:
        chosen = np.arange(count)
    else:
        chosen = np.sort(np.argpartition(random_keys(int(ends[-1]), draw.stream), count - 1)[:count])
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = [0, *ends[:-1].tolist()]
    return [
        (source, part - start) for source, part, start in zip(draw.sources, parts, starts, strict=True) if len(part)
    ]


def random_keys(rows: int, stream: Stream) -> NDArray[np.uint64]:
    """64 random bits a row; the rows with the smallest are a draw without replacement."""
    # The bit stream itself: NumPy guarantees it, unlike what its sampling methods make of it.
    return stream.numpy().bit_generator.random_raw(rows)
