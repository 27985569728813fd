"""Whose rows each member of a population is given, where the members of all replicates are one batch.

Member j of replicate r stands at place j R + r of every tensor [m R, ...].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

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

        For every diet but ``union`` a set may also be a mapping to tensors [m R, ...] of sufficient statistics.
        """
        if self.population.diet == "union":
            return self._drawn_from_all(rows, union_stream(self.seed, generation))
        places = writers(self.population, self.replicates, self.seed, generation) * self.replicates
        return _at(rows, torch.from_numpy((places + np.arange(self.replicates)).ravel()))

    def _drawn_from_all(self, rows: torch.Tensor, stream: Stream) -> torch.Tensor:
        """As many rows as a member wrote, drawn without replacement for each member from those of its replicate."""
        members, count = self.population.models, rows.shape[1]
        pooled = torch.cat(list(rows.unflatten(0, (members, self.replicates))), dim=1)
        return torch.cat([_sampled(pooled, count, stream.at(member)) for member in range(members)])


def _sampled(pool: torch.Tensor, count: int, stream: Stream) -> torch.Tensor:
    """``count`` rows of each of the pools [R, rows, d], without replacement, in the order of the pool."""
    keys = stream.numpy().bit_generator.random_raw(pool.shape[0] * pool.shape[1]).reshape(pool.shape[:2])
    places = torch.from_numpy(np.sort(np.argpartition(keys, count - 1, axis=1)[:, :count], axis=1))
    return pool.gather(1, places[:, :, None].expand(-1, -1, pool.shape[2]))


def _at(rows: Any, places: torch.Tensor) -> Any:
    """The sets at some places of a batch of sets: a tensor, or statistics by name."""
    if isinstance(rows, Mapping):
        return {name: tensor[places] for name, tensor in rows.items()}
    return rows[places]
