"""Settings of Lightning's trainer, and of a fit epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.registry import Choice
from modelcollapse.settings import EXECUTION, Count, Positive, Processes, Range


@dataclass(frozen=True)
class TrainerSettings:
    """Where and how the work is executed."""

    accelerator: Annotated[Literal["auto", "cpu", "gpu", "mps"], EXECUTION]
    """Kind of device that computes."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    """Arithmetic of fitting, scoring and generating; in every key."""
    threads: Annotated[Processes | None, EXECUTION]
    """CPU threads; null leaves them to torch. Results are bit-identical for an equal number only."""
    scoring_batch_size: Annotated[Count | None, EXECUTION]
    """Blocks or images scored at once; null takes as many as half a gigabyte holds, on a GPU four. Not in any key."""
    progress: Annotated[bool, EXECUTION]
    """Whether progress bars are drawn on a terminal."""
    on_nan: Annotated[Literal["stop", "continue"], EXECUTION] = "stop"
    """What happens when a generation's loss becomes NaN or infinite: the chain stops, or goes on with the weights of an
    epoch before, and the record says so."""
    devices: Annotated[Processes, EXECUTION] = 1
    """World size of a fit (DDP on this machine): GPUs or, on a CPU, processes that divide the threads. The
    batches stay what they are, each device taking a part of every one. Not in any key."""


@dataclass(frozen=True)
class EpochSettings:
    """How a network is fitted to its training set, whatever the optimiser."""

    epochs: Count
    """Passes over the training set of generations 1, 2, ..."""
    generation0_epochs: Count | None
    """Passes over the real data for generation 0, so that all regimes share it; null takes ``epochs``."""
    epoch_size: Literal["training_set", "real"]
    """What an epoch passes over: the whole training set, or as many rows as the real data has (equal compute)."""
    batch_size: Count
    """Rows (blocks, images) per optimiser step."""
    gradient_clip: Positive | None
    """Largest norm of the gradient; null leaves it as it is."""
    checkpoint: Literal["best_val", "last"]
    """Weights that are kept: those of the epoch best on the real validation split, or the last."""

    def epochs_of(self, generation: int) -> int:
        """Epochs that a generation is fitted for."""
        if generation == 0 and self.generation0_epochs is not None:
            return self.generation0_epochs
        return self.epochs


@dataclass(frozen=True)
class SgdSettings:
    """Settings of the optimizer ``sgd``."""

    momentum: Annotated[float, Range(low=0, high=1)] = 0.0
    """Share of the last update that is kept."""


@dataclass(frozen=True)
class WeightAveragingSettings:
    """Settings of the callback ``weight_averaging``."""

    decay: Annotated[float, Range(low=0, high=1)] = 0.999
    """Share of the average that is kept at every step."""


def changes_results(callback: Choice) -> bool:
    """Whether the weights of a fit can depend on a callback."""
    options = callback.member.options
    return bool(options["changes_results"]) or replaces_weights(callback)


def replaces_weights(callback: Choice) -> bool:
    """Whether a callback puts other weights in the place of the last ones."""
    return bool(callback.member.options.get("replaces_weights", False))


def callback_problems(callbacks: Sequence[Choice], model: Any) -> list[str]:
    """Callbacks that nothing calls, that are named twice, or whose weights would be thrown away."""
    if not callbacks:
        return []
    training = getattr(model, "training", None)
    if training is None:
        return [f"callbacks: are of no use to model.family={model.family}, which takes no steps; it must be []"]
    names = [choice.name for choice in callbacks]
    problems = [f"callbacks: {name} is named {names.count(name)} times" for name in names if names.count(name) > 1]
    if training.checkpoint == "best_val":
        problems += [
            f"callbacks: {choice.name} replaces the final weights, and model.training.checkpoint=best_val those of the"
            " best epoch; choose model.training.checkpoint=last"
            for choice in callbacks
            if replaces_weights(choice)
        ]
    return list(dict.fromkeys(problems))
