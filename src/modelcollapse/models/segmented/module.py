"""Many generations in one Lightning fit: a batch is a run of generations, each of which draws on those before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from pytorch_lightning import LightningDataModule, LightningModule

from modelcollapse.models.segmented.estimator import Estimator, Fitted, State
from modelcollapse.models.segmented.training_sets import Representation, TrainingSet, TrainingSets
from modelcollapse.seeding import Stream

BATCH_GENERATIONS = 10
"""Generations a batch: what Lightning does for each batch takes as long as a tenth of a cheap generation."""
MEASURED_TOGETHER = 256
"""Mixtures, Gaussians, ... that are measured in one go, of all replicates: enough of them to hide the calls."""


class GenerationsModule(LightningModule):
    """Fits generation after generation, and measures them when all are fitted; no gradients are involved."""

    def __init__(
        self, estimator: Estimator, representation: Representation, seed: int, states: Mapping[int, State]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._estimator, self._representation, self._seed = estimator, representation, seed
        self.states: dict[int, State] = dict(states)
        """Generation -> parameters, those of earlier segments included."""
        self.fits: dict[int, Fitted] = {}
        """Generation -> what this fit gave, in order."""
        self.measures: Mapping[str, torch.Tensor] = {}
        """Metric -> [T, R], of the T generations of this fit, once it has ended."""

    def configure_optimizers(self) -> None:
        """None: an estimator has no gradients."""

    def training_step(self, batch: Iterable[TrainingSet], batch_index: int) -> None:
        """Fit generations to their training sets, each composed when the one before is fitted."""
        for training_set in batch:
            generation = training_set.generation
            stream = Stream(self._seed, generation, "fit")
            fitted = self._representation.fit(training_set, self.states.get(generation - 1), stream)
            self.states[generation], self.fits[generation] = fitted.state, fitted

    def on_train_end(self) -> None:
        """Measure what was fitted, many generations in one go."""
        generations = list(self.fits)
        size = max(1, MEASURED_TOGETHER // _replicates(self.states[0]))
        groups = [generations[place : place + size] for place in range(0, len(generations), size)]
        measured = [self._measured(group) for group in groups]
        diagnostics = stacked([fitted.diagnostics for fitted in self.fits.values()])
        self.measures = {**diagnostics, **{name: torch.cat([m[name] for m in measured]) for name in measured[0]}}

    def _measured(self, generations: Sequence[int]) -> Mapping[str, torch.Tensor]:
        states = stacked([self.states[generation] for generation in generations])
        streams = [Stream(self._seed, generation, "measure") for generation in generations]
        return self._estimator.measure(states, self.states[0], streams)


class GenerationsDataModule(LightningDataModule):
    """Serves the training sets of consecutive generations, in batches that compose each when it is asked for."""

    def __init__(self, module: GenerationsModule, training_sets: TrainingSets, generations: range) -> None:
        super().__init__()
        self._module, self._training_sets = module, training_sets
        self._batches = [
            generations[place : place + BATCH_GENERATIONS] for place in range(0, len(generations), BATCH_GENERATIONS)
        ]

    def train_dataloader(self) -> "GenerationsDataModule":
        """The data module itself."""
        return self

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Iterator[TrainingSet]]:
        return map(self._composed, self._batches)

    def _composed(self, generations: range) -> Iterator[TrainingSet]:
        return (self._training_sets.compose(generation, self._module.states) for generation in generations)

    def transfer_batch_to_device(
        self, batch: Iterator[TrainingSet], device: torch.device, dataloader_idx: int
    ) -> Iterator[TrainingSet]:
        """The batch where it is: segmented families compute on the CPU."""
        return batch


def stacked(generations: Sequence[State]) -> dict[str, torch.Tensor]:
    """Tensors of generations that follow each other, each [T, ...]."""
    return {name: torch.stack([tensors[name] for tensors in generations]) for name in generations[0]}


def _replicates(state: State) -> int:
    return len(next(iter(state.values())))
