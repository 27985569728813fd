"""Resolves a composition: the row numbers that it takes of each source, and their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    """Row numbers in that source, ascending; each once, but for rows that a training set used again holds twice."""
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
    counts = []
    for draw, count in _counted(draws, sizes, n):
        _check_count(draw, count, sum(sizes[source] for source in draw.sources))
        counts.append(count)
    return counts


def training_rows(draws: Iterable[Draw], sizes: Mapping[Source, int], n: int) -> int:
    """The rows of a training set; `sizes` need not know a training set that it draws from."""
    return sum(count for _, count in _counted(draws, sizes, n))


def _counted(draws: Iterable[Draw], sizes: Mapping[Source, int], n: int) -> Iterator[tuple[Draw, int]]:
    total = Fraction(0)
    for draw in canonical(draws):
        if draw.rows is None:
            yield draw, sum(sizes[source] for source in draw.sources)
            continue
        before, total = total, total + exact(draw.rows)
        yield draw, whole(total * n) - whole(before * n)


def _check_count(draw: Draw, count: int, held: int) -> None:
    if 0 < count == held:
        return
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
    kept: Mapping[Source, NDArray[np.int64]] = MappingProxyType({}),
) -> list[Rows]:
    """The rows of a whole training set, with the weight of each row; weights have mean 1 over all rows.

    Rows of an earlier training set are found by composing it again from its history (see `with_history`), and are
    rows of the sets that hold them; they weigh what this composition says, whatever they weighed before.

    `sizes` are the rows that each source holds, n those of H. `place_weights` are what the rows of a source weigh
    beside each other, where a selection weighed them: they multiply the weights of a draw's rows, which are scaled so
    that the rows together weigh what they would without. `kept` are the places of earlier training sets that a
    selection kept of the rows that this function gives for them, one after the other. Sources that no row fell on are
    left out. Every choice of a draw's rows is equally likely, and a smaller draw from the same stream is part of a
    larger one, so regimes that differ in a share only are compared on nested draws. Raises `DrawError` (see
    `count_rows`) before anything is drawn.
    """
    import numpy as np

    draws = canonical(draws)
    reused = _reused(draws, sizes, n, kept)
    sizes = _sizes(draws, sizes, reused)
    counts = count_rows(draws, sizes, n)
    total = sum(counts)
    found = []
    for draw, count in zip(draws, counts, strict=True):
        weight = 1.0 if draw.weight is None else draw.weight * total / count
        rows = [Rows(source, np.sort(indices), weight) for source, indices in _held(_drawn(draw, sizes, count), reused)]
        found += _weighed(rows, place_weights)
    return found


class _TrainingSet(NamedTuple):
    """The rows of a training set, one after the other."""

    sources: list[Source]
    places: NDArray[np.int64]
    """The place in ``sources`` of each row's set."""
    indices: NDArray[np.int64]
    """The row number in that set."""

    def at(self, places: NDArray[np.int64]) -> _TrainingSet:
        """The rows at some places, in their order."""
        return self._replace(places=self.places[places], indices=self.indices[places])


_Parts = list[tuple[Source, "NDArray[np.int64]"]]


def _reused(
    draws: Iterable[Draw], sizes: Mapping[Source, int], n: int, kept: Mapping[Source, NDArray[np.int64]]
) -> dict[Source, _TrainingSet]:
    """The training set that is drawn from, if one is, composed again from the oldest in its history on."""
    known: dict[Source, _TrainingSet] = {}
    if any(draw.reused is not None and not draw.history for draw in draws):
        raise DrawError("rows of an earlier training set are found by its composition: see with_history")
    for last, history in {draw.reused: draw.history for draw in draws if draw.reused is not None}.items():
        for generation, composition in enumerate(history, 1 + (last.generation or 0) - len(history)):
            source = Source("training", generation)
            known = {source: _composed(composition, sizes, n, known, kept.get(source))}
    return known


def _composed(
    draws: Iterable[Draw],
    sizes: Mapping[Source, int],
    n: int,
    known: Mapping[Source, _TrainingSet],
    kept: NDArray[np.int64] | None,
) -> _TrainingSet:
    """A training set, its rows one after the other, or those of them that a selection kept."""
    import numpy as np

    held = _sizes(draws, sizes, known)
    counts = count_rows(draws, held, n)
    parts = [
        part
        for draw, count in zip(canonical(draws), counts, strict=True)
        for part in _held(_drawn(draw, held, count), known)
    ]
    if kept is None:
        return _laid_out(parts)
    # In the order of `resolve`, in which a selection counts places.
    return _laid_out([(source, np.sort(indices)) for source, indices in parts]).at(kept)


def _sizes(
    draws: Iterable[Draw], sizes: Mapping[Source, int], reused: Mapping[Source, _TrainingSet]
) -> dict[Source, int]:
    """The rows of every source of the draws, training sets among them."""
    sources = (source for draw in draws for source in draw.sources)
    return {source: len(reused[source].indices) if source in reused else sizes[source] for source in sources}


def _laid_out(parts: _Parts) -> _TrainingSet:
    import numpy as np

    sources = list(dict.fromkeys(source for source, _ in parts))
    places = [np.full(len(indices), sources.index(source)) for source, indices in parts]
    return _TrainingSet(sources, np.concatenate(places), np.concatenate([indices for _, indices in parts]))


def _held(parts: _Parts, reused: Mapping[Source, _TrainingSet]) -> _Parts:
    """The parts with rows of a training set as rows of the sets that hold them."""
    found: _Parts = []
    for source, indices in parts:
        if source.kind != "training":
            found.append((source, indices))
            continue
        rows = reused[source]
        places, numbers = rows.places[indices], rows.indices[indices]
        each = [(held, numbers[places == place]) for place, held in enumerate(rows.sources)]
        found += [(held, of_set) for held, of_set in each if len(of_set)]
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
