"""What families that work stage by stage have in common: the recipe of a fit, roles, streams, stages imported late."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

from modelcollapse.execution.memory import give_back_memory, set_imports_aside
from modelcollapse.regimes import Source
from modelcollapse.seeding import Stream
from modelcollapse.settings.fitting import EpochSettings
from modelcollapse.store import Workshop


def training_recipe(training: EpochSettings, generation: int) -> dict[str, Any]:
    """The settings of a fit, epochs resolved.

    Generation 0 trains on exactly the real data, so it is the same fit however an epoch is counted.
    """
    recipe = asdict(training)
    recipe["epochs"] = epochs_of(training, generation)
    del recipe["generation0_epochs"]
    if generation == 0:
        del recipe["epoch_size"]
    return recipe


def epochs_of(training: EpochSettings, generation: int) -> int:
    """Epochs that a generation is fitted for."""
    if generation == 0 and training.generation0_epochs is not None:
        return training.generation0_epochs
    return training.epochs


def source_role(source: Source) -> str:
    """Role under which a fit knows a source of its training set."""
    return source.kind if source.generation is None else f"{source.kind}_{source.generation}"


def within(stream: Stream, purpose: str) -> Stream:
    """The stream of one purpose inside a stage."""
    return Stream(stream.seed, stream.generation, f"{stream.stage}.{purpose}")


def stage(module: str, function: str, bench: Any, **arguments: Any) -> Callable[[Workshop], None]:
    """A stage's function with its bench and arguments; its module is imported when it runs: promises must be cheap."""
    return partial(_run, module, function, bench, arguments)


def _run(module: str, function: str, bench: Any, arguments: Mapping[str, Any], workshop: Workshop) -> None:
    getattr(import_module(module), function)(bench, workshop, **arguments)
    give_back_memory()
    set_imports_aside()
