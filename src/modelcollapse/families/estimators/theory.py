"""A chain as theory sees it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelcollapse.edits.settings import NO_EDIT, is_edited
from modelcollapse.merges.settings import NO_MERGE, is_merged, reference_share
from modelcollapse.regimes import GeneralSettings, Regime, Source, compose, count_rows, rows_of, synthetic_rows
from modelcollapse.registry import Choice

Floats = NDArray[np.float64]

Columns = Mapping[str, np.ndarray]
"""Measure -> expected value for every generation, [N + 1]."""


@dataclass(frozen=True)
class Plan:
    """A chain as theory sees it."""

    regime: Regime
    generations: int
    """Generations after the one trained on real data."""
    rows: int
    """Real rows."""
    merge: Choice = NO_MERGE
    """What is done to parameters after each fit; the forms of chains without a merge hold for none."""
    edit: Choice = NO_EDIT
    """What is done to real data in the place of synthetic ones; as with merges."""

    @property
    def is_plain(self) -> bool:
        """Whether generations train on what models write, as these were fitted."""
        return not is_merged(self.merge) and not is_edited(self.edit)

    def sizes(self) -> list[int] | None:
        """Rows of each fit, where every generation trains on nothing but new samples of the one before; else None."""
        return self._replaced_sizes() if self.is_plain else None

    def merged_sizes(self) -> tuple[list[int], float] | None:
        """As ``sizes``, and the share of generation 0's parameters in every later one; None for other merges."""
        share, sizes = reference_share(self.merge), self._replaced_sizes()
        return None if share is None or sizes is None or is_edited(self.edit) else (sizes, share)

    def _replaced_sizes(self) -> list[int] | None:
        sizes = [self.rows]
        for generation in range(1, self.generations + 1):
            draws = compose(self.regime, generation, seed=0)
            latest = Source("synthetic", generation - 1)
            if [draw.sources for draw in draws] != [(latest,)]:
                return None
            written = rows_of(synthetic_rows(self.regime, generation - 1), self.rows)
            sizes += count_rows(draws, {latest: written}, self.rows)
        return sizes

    def general_counts(self) -> tuple[int, int, int] | None:
        """Rows of each training set that are new samples, rows of the training set before and rows of H.

        None where the regime is not the paper's general form.
        """
        if not isinstance(self.regime, GeneralSettings) or not self.is_plain:
            return None
        # From generation 2 on the training set before is a set of its own.
        draws = compose(self.regime, 2, seed=0)
        sizes = {source: self.rows for draw in draws for source in draw.sources}
        counted = zip((draw.sources[0].kind for draw in draws), count_rows(draws, sizes, self.rows), strict=True)
        counts = dict(counted)
        return counts.get("synthetic", 0), counts.get("training", 0), counts.get("real", 0)

    def accumulates(self) -> bool:
        """Whether every generation trains on all sets so far."""
        return self.regime.accumulates and self.is_plain
