"""Categorical distributions, fitted by counting: a Markov chain whose only absorbing states are single categories."""

from collections.abc import Mapping, Sequence

import torch

from modelcollapse.data.settings import CategoricalSamplesSettings
from modelcollapse.families.discrete.settings import DiscreteSettings
from modelcollapse.families.estimators.estimator import FitFailed, Fitted, State
from modelcollapse.seeding import Stream


class DiscreteEstimator:
    """Frequencies of R replicates: state ``probabilities`` [R, K], and ``single_since`` [R], the generation since
    which all probability is with one state, or -1.

    Rows are state numbers, [R, rows, 1]; statistics of a set are its ``counts`` [R, K]. Rows of a set come sorted:
    whatever draws from a set draws at random.
    """

    sorts_rows = True

    def __init__(self, model: DiscreteSettings, data: CategoricalSamplesSettings) -> None:
        true = torch.from_numpy(data.probabilities)
        self._true = {"probabilities": true.expand(model.replicates, -1)}

    @property
    def true(self) -> State:
        """``probabilities`` [K] of the true distribution."""
        return {name: values[0] for name, values in self._true.items()}

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the true distribution, [R, rows, 1]."""
        return self.draw(self._true, rows, stream)

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Samples, [R, rows, 1]."""
        counts = self.draw_statistics(state, rows, stream)["counts"]
        replicates, states = counts.shape
        numbers = torch.arange(states).repeat(replicates)
        return numbers.repeat_interleave(counts.flatten()).view(replicates, rows, 1)

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """Weighted frequencies."""
        states = self._true["probabilities"].shape[1]
        weights = torch.ones(data.shape[1], dtype=torch.float64) if weights is None else weights
        counts = torch.zeros(len(data), states, dtype=torch.float64)
        counts.scatter_add_(1, data[:, :, 0], weights.expand(len(data), -1))
        return _fitted(counts, previous, stream.generation)

    def log_likelihood(self, state: State, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows [R, rows, 1], nats; minus infinity for a state that is lost."""
        return state["probabilities"].log().gather(1, data[:, :, 0])

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """The same under the true distribution."""
        return self.log_likelihood(self._true, data)

    def real_statistics(self, rows: int, stream: Stream) -> State:
        """Counts of ``rows`` samples of the true distribution."""
        return self.draw_statistics(self._true, rows, stream)

    def draw_statistics(self, state: State, rows: int, stream: Stream) -> State:
        """Counts of ``rows`` samples: multinomial."""
        counts = stream.numpy().multinomial(rows, state["probabilities"].numpy())
        return {"counts": torch.from_numpy(counts)}

    def pool_statistics(self, left: State, right: State) -> State:
        """Counts of the union of two sets."""
        return {"counts": left["counts"] + right["counts"]}

    def fit_statistics(self, statistics: State, previous: State | None, stream: Stream) -> Fitted:
        """Frequencies."""
        return _fitted(statistics["counts"].double(), previous, stream.generation)

    def parameters(self, state: State) -> State:
        """What a merge computes with: ``probabilities`` [R, K]."""
        return {"probabilities": state["probabilities"]}

    def of_parameters(self, parameters: State, previous: State, generation: int) -> State:
        """The state of merged probabilities. Raises FitFailed where one is negative, or all of a replicate are zero."""
        probabilities = parameters["probabilities"]
        invalid = (probabilities < 0).any(1) | (probabilities.sum(1) <= 0)
        if invalid.any():
            raise FitFailed(
                f"generation {generation}: the merged probabilities of {int(invalid.sum())} of {len(invalid)}"
                " replicates are negative somewhere; choose merge=average, or a smaller merge.weight"
            )
        return _fitted(probabilities, previous, generation).state

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """What is left of the distributions, each [T, R].

        ``survivors``: states with a probability above zero; ``single``: 1 where one is left, else 0.
        ``entropy``: in nats. ``heterozygosity``: probability that two samples differ, 1 - sum p^2.
        ``total_variation``: distance to the true distribution, half the sum of |p - q|.
        """
        probabilities, true = states["probabilities"], self._true["probabilities"]
        survivors = (probabilities > 0).sum(-1).double()
        return {
            "survivors": survivors,
            "entropy": torch.special.entr(probabilities).sum(-1),
            "heterozygosity": 1 - probabilities.square().sum(-1),
            "single": (survivors == 1).double(),
            "total_variation": (probabilities - true).abs().sum(-1) / 2,
        }


def _fitted(counts: torch.Tensor, previous: State | None, generation: int) -> Fitted:
    # The largest count is exact where one state is left, so its probability is exactly 1.
    probabilities = counts / counts.sum(1, keepdim=True)
    single = (probabilities > 0).sum(1) == 1
    before = torch.full_like(single, -1, dtype=torch.int64) if previous is None else previous["single_since"]
    since = torch.where(before >= 0, before, generation)
    return Fitted({"probabilities": probabilities, "single_since": torch.where(single, since, -1)})
