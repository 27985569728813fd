"""Which rows of its sources a composition takes, and with what weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from modelcollapse.regimes.composition import Draw, Source, canonical
from modelcollapse.regimes.shares import exact, whole
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DrawError(ValueError):
    """Rows were asked for that cannot be had."""


class Rows(NamedTuple):
    """Rows of one source that are trained on."""

    source: Source
    indices: NDArray[np.int64]
    """Row numbers in that source, ascending, each once."""
    weight: float
    """Weight of each of these rows; over all rows of a training set the weights have mean 1."""


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
        chosen = np.sort(np.argpartition(random_keys(int(ends[-1]), draw.stream), count - 1)[:count])
    artifacts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = [0, *ends[:-1].tolist()]
    return [
        (source, artifact - start)
        for source, artifact, start in zip(draw.sources, artifacts, starts, strict=True)
        if len(artifact)
    ]


def random_keys(rows: int, stream: Stream) -> NDArray[np.uint64]:
    """64 random bits a row; the rows with the smallest are a draw without replacement."""
    # The bit stream itself: NumPy promises to keep it, unlike what its sampling methods make of it.
    return stream.numpy().bit_generator.random_raw(rows)
