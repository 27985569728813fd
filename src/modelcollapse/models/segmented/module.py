"""Many generations in one Lightning fit: an epoch a generation, its training set the only batch."""

from collections.abc import Iterator, Mapping

import torch
from pytorch_lightning import LightningDataModule, LightningModule

from modelcollapse.models.segmented.estimator import Estimator, State
from modelcollapse.models.segmented.training_sets import Representation, TrainingSet, TrainingSets
from modelcollapse.seeding import Stream


class GenerationsModule(LightningModule):
    """Fits and measures one generation an epoch; nothing is optimised by gradients."""

    def __init__(
        self, estimator: Estimator, representation: Representation, seed: int, states: Mapping[int, State]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._estimator, self._representation, self._seed = estimator, representation, seed
        self.states: dict[int, State] = dict(states)
        """Generation -> parameters, those of earlier segments included."""
        self.measures: dict[int, Mapping[str, torch.Tensor]] = {}
        """Generation -> metric -> [R], of this fit."""

    def configure_optimizers(self) -> None:
        """None: an estimator has no gradients."""

    def training_step(self, training_set: TrainingSet, batch_index: int) -> None:
        """Fit the generation to its training set, and measure it."""
        generation = training_set.generation
        fit_stream, measure_stream = (Stream(self._seed, generation, stage) for stage in ("fit", "measure"))
        fitted = self._representation.fit(training_set, self.states.get(generation - 1), fit_stream)
        self.states[generation] = fitted.state
        measures = self._estimator.measure(fitted, self.states[0], measure_stream)
        self.measures[generation] = {**fitted.diagnostics, **measures}


class GenerationsDataModule(LightningDataModule):
    """Serves the training sets of consecutive generations, one an epoch, each composed when it is asked for."""

    def __init__(self, module: GenerationsModule, training_sets: TrainingSets, first: int) -> None:
        super().__init__()
        self._module, self._training_sets, self._first = module, training_sets, first

    def train_dataloader(self) -> "GenerationsDataModule":
        """The data module itself: a loader that knows the generation by what has been fitted."""
        return self

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[TrainingSet]:
        yield self._training_sets.compose(self._first + len(self._module.measures), self._module.states)

    def transfer_batch_to_device(self, batch: TrainingSet, device: torch.device, dataloader_idx: int) -> TrainingSet:
        """The batch where it is: segmented families compute on the CPU."""
        return batch
