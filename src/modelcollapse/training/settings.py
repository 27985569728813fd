"""Settings of Lightning's trainer, and of a fit epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from modelcollapse.registry import Choice
from modelcollapse.settings import (
    EXECUTION,
    UNKNOWN,
    Count,
    IntroducedAs,
    Positive,
    Problem,
    Processes,
    Range,
    identity_of,
    shown,
)

MOST_BATCHES = 10**9


@dataclass(frozen=True)
class Batches:
    """Annotation of a number of batches, or a share of them: 1 is one batch, 1.0 all of them.

    Args:
        least: 0 where there may be none.
    """

    least: int = 1

    def read(self, value: Any, path: str, problems: list[str]) -> Any:
        """The number or the share, or UNKNOWN and what is wrong with it."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        highest = 1.0 if isinstance(value, float) else MOST_BATCHES
        if is_number and (0 < value <= highest or value == self.least):
            return value
        problems.append(Problem(path, f"{shown(value)} is not allowed; it must be {self.describe()}", value))
        return UNKNOWN

    def describe(self) -> str:
        """What the value may be, in words."""
        return f"a whole number, at least {self.least}, or a share of 1.0"


@dataclass(frozen=True, kw_only=True)
class FitArguments:
    """Arguments of Lightning's Trainer that decide what each generation's fit learns, under Lightning's names.

    They are in the recipe of the fit. Batches of both splits are of ``model.training.batch_size`` rows, whatever is
    computed at once, on all devices together.
    """

    accumulate_grad_batches: Annotated[Count, IntroducedAs(1)] = 1
    """Batches whose gradients are averaged for a step of the optimizer, as Lightning does it."""
    max_steps: Annotated[Count | None, IntroducedAs(None)] = None
    """Steps of the optimizer after which a generation's fit ends, if its epochs have not ended it; the schedule is that
    of all epochs. Null for no limit."""
    limit_train_batches: Annotated[Annotated[Any, Batches()] | None, IntroducedAs(None)] = None
    """Batches of an epoch: a number, or a share between 0.0 and 1.0; the next epoch takes the next ones. Null: all."""
    limit_val_batches: Annotated[Annotated[Any, Batches()] | None, IntroducedAs(None)] = None
    """Batches of the validation split that choose among the epochs, a number or a share; null: all."""
    overfit_batches: Annotated[Any, Batches(least=0), IntroducedAs(0)] = 0
    """Where not 0, every epoch takes the same batches, so many or such a share, and validation as many of its own."""
    check_val_every_n_epoch: Annotated[Count, IntroducedAs(1)] = 1
    """Epochs from one validation to the next; the best epoch is one that was validated."""
    gradient_clip_algorithm: Annotated[Literal["norm", "value"], IntroducedAs("norm")] = "norm"
    """Whether `model.training.gradient_clip` is of the norm of the gradient or of each of its values."""


NO_ARGUMENTS = FitArguments()
"""Lightning's defaults."""


@dataclass(frozen=True)
class TrainerSettings(FitArguments):
    """Where and how the work is executed, and arguments of Lightning's Trainer."""

    accelerator: Annotated[Literal["auto", "cpu", "gpu", "mps"], EXECUTION] = "auto"
    """Kind of device that computes."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of fitting, scoring and generating; in every key."""
    threads: Annotated[Processes | None, EXECUTION] = None
    """CPU threads; null leaves them to torch. Results are bit-identical for an equal number only."""
    scoring_batch_size: Annotated[Count | None, EXECUTION] = None
    """Blocks or images scored at once; null takes as many as half a gigabyte holds, on a GPU four. Not in any key."""
    progress: Annotated[bool, EXECUTION] = True
    """Whether progress bars are drawn on a terminal."""
    on_nan: Annotated[Literal["stop", "continue"], EXECUTION] = "stop"
    """What happens when a generation's loss becomes NaN or infinite: the chain stops, or goes on with the weights of an
    epoch before, and the record says so."""
    devices: Annotated[Processes, EXECUTION] = 1
    """World size of a fit (DDP on this machine): GPUs or, on a CPU, processes that divide the threads. The
    batches stay what they are, each device taking a part of every one. Not in any key."""
    strategy: Annotated[Literal["auto", "ddp"], EXECUTION] = "auto"
    """How several devices fit together; both mean DDP."""
    micro_batch_size: Annotated[Count | None, EXECUTION] = None
    """Rows of a batch that are computed at once, on each device, for less memory; the step is that of the whole batch.
    Null computes it whole. Not in any key."""
    profiler: Annotated[Literal["simple", "advanced"] | None, EXECUTION] = None
    """Lightning's profiler of each generation's fit; what it measures is in the run folder, `profiles/`."""
    deterministic: Annotated[Literal[False, True, "warn"], EXECUTION] = False
    """Whether torch is limited to deterministic algorithms (GPU); warn: where there are any."""
    benchmark: Annotated[bool, EXECUTION] = False
    """Whether cuDNN tries its algorithms and takes the fastest."""
    checkpoint_seconds: Annotated[float, Range(low=0, high=86_400), EXECUTION] = 120.0
    """Seconds of fitting from one checkpoint to the next, at least: what a kill can cost, beside the epoch at hand. A
    checkpoint that takes long to write is written more seldom. 0 writes one after every epoch. Not in any key."""
    detect_anomaly: Annotated[bool, EXECUTION] = False
    """Whether a gradient of NaN is traced to the operation that made it; slow."""
    auto_engine: Annotated[Literal["native", "transformers"] | None, EXECUTION] = None
    """What `decoding.engine=auto` takes with `accelerator=auto`; null: transformers where the machine that composes the
    run or sweep has a GPU. A sweep hands on to its chains what it found."""

    @property
    def fit_arguments(self) -> FitArguments:
        """Those that decide what a fit learns."""
        return FitArguments(**{field.name: getattr(self, field.name) for field in fields(FitArguments)})

    def fit_problems(self, family: str, training: "EpochSettings | None") -> list[str]:
        """What is wrong with arguments of fits, for a family whose fits ``training`` describes; None: it takes none."""
        if training is None:
            named = [*identity_of(self.fit_arguments), *(["micro_batch_size"] if self.micro_batch_size else [])]
            return [
                f"trainer.{name}: is of no use to model.family={family}; it must be {_default(name)}" for name in named
            ]
        problems = []
        epochs = min(training.epochs_of(0), training.epochs_of(1))
        if training.checkpoint == "best_val" and self.check_val_every_n_epoch > epochs:
            problems.append(
                f"trainer.check_val_every_n_epoch: {self.check_val_every_n_epoch} leaves no epoch of {epochs} for"
                " model.training.checkpoint=best_val to choose; it must be at most that"
            )
        if self.gradient_clip_algorithm == "value" and training.gradient_clip is None:
            problems.append("trainer.gradient_clip_algorithm: 'value' needs model.training.gradient_clip=NUMBER")
        return problems


def _default(name: str) -> str:
    default = next(field.default for field in fields(TrainerSettings) if field.name == name)
    return "null" if default is None else str(default)


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
class EarlyStoppingSettings:
    """Settings of the callback ``early_stopping``: Lightning's EarlyStopping."""

    monitor: str = "validation/perplexity"
    """Value of an epoch's line that is watched."""
    patience: Annotated[int, Range(low=0)] = 3
    """Epochs without an improvement after which a fit ends."""
    min_delta: Annotated[float, Range(low=0, high=1e6)] = 0.0
    """Change that counts as an improvement."""
    mode: Literal["min", "max"] = "min"
    """Whether lower or higher is better."""


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
