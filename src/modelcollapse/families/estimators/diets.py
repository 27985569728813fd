"""Whose rows each member of a population is given, where the members of all replicates are one batch.

Member j of replicate r stands at place j R + r of every tensor [m R, ...].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelcollapse.families.estimators.row_sets import WeighedRows, batch_of, end_to_end
from modelcollapse.populations.members import union_stream, writers
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.seeding import Stream


@dataclass(frozen=True)
class Diets:
    """The diets of a population in R replicates."""

    population: PopulationSettings
    replicates: int
    """R."""
    seed: int
    """Of the chain."""

    def of_real(self, rows: Any) -> Any:
        """Real rows as members have them: shared ones are those of the first, as split ones each has its own."""
        if self.population.data == "split":
            return rows
        return _at(rows, torch.arange(self.replicates).repeat(self.population.models))

    def of_written(self, rows: Any, generation: int) -> Any:
        """What each member is trained on of what all members wrote in a generation, ``rows`` [m R, rows, ...].

        Rows that a selection weighed keep their weights. For every diet but ``union`` a set may also be a mapping to
        tensors [m R, ...] of sufficient statistics.
        """
        if self.population.diet == "union":
            return self._drawn_from_all(rows, union_stream(self.seed, generation))
        places = writers(self.population, self.replicates, self.seed, generation) * self.replicates
        return _at(rows, torch.from_numpy((places + np.arange(self.replicates)).ravel()))

    def _drawn_from_all(self, written: Any, stream: Stream) -> Any:
        """As many rows as a member wrote, drawn without replacement for each member from those of its replicate."""
        known = end_to_end([written])
        pool = known.each(self._pooled)
        size, count = tuple(pool.rows.shape[:2]), known.rows.shape[1]
        members = range(self.population.models)
        drawn = batch_of([pool.at(_sampled(size, count, stream.at(member))) for member in members])
        return drawn.scaled() if isinstance(written, WeighedRows) else drawn.rows

    def _pooled(self, rows: torch.Tensor) -> torch.Tensor:
        """What all members of each replicate have, one after another, [R, m rows, ...] of [m R, rows, ...]."""
        return torch.cat(list(rows.unflatten(0, (self.population.models, self.replicates))), dim=1)


def _sampled(size: tuple[int, ...], count: int, stream: Stream) -> torch.Tensor:
    """Places [R, count] in pools [R, rows], ``size``, drawn without replacement, ascending."""
    keys = stream.numpy().bit_generator.random_raw(size[0] * size[1]).reshape(size)
    return torch.from_numpy(np.sort(np.argpartition(keys, count - 1, axis=1)[:, :count], axis=1))


def _at(rows: Any, places: torch.Tensor) -> Any:
    """The sets at some places of a batch of sets: a tensor, rows with their weights, or statistics by name."""
    if isinstance(rows, WeighedRows):
        return rows.each(lambda known: known[places])
    if isinstance(rows, Mapping):
        return {name: tensor[places] for name, tensor in rows.items()}
    return rows[places]
