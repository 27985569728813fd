"""Settings that all estimator families share."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.regimes import Regime, compose, count_rows, held_rows, rows_of, synthetic_rows
from modelcollapse.selections.settings import Rows, SelectionSettings, lacking, prompt_problems, refusal
from modelcollapse.settings import EXECUTION, Count

Synthesis = Literal["samples", "statistics"]


@dataclass(frozen=True)
class EstimatorSettings:
    """Settings of a family that runs many independent chains in one batch of tensors, many generations at a time."""

    name: Annotated[str, EXECUTION]
    """Name for people and figures; not in any key."""
    replicates: Count
    """Independent chains in one batch; each has real data of its own."""
    segment_length: Annotated[Count, EXECUTION]
    """Generations that are stored as one artifact; what a kill loses at most."""


def synthesis_problems(model: Any, data: object, decoding: object, regime: Regime, generations: int) -> list[str]:
    """Why the regime needs samples, if it does: sufficient statistics describe whole sets of equal rows only."""
    return [] if model.synthesis == "samples" else statistics_problems(regime, generations)


def statistics_problems(regime: Regime, generations: int) -> list[str]:
    """Why the regime needs the rows themselves, if so."""
    draws = [draw for t in regime.kinds_of_generation(generations) for draw in compose(regime, t, seed=0)]
    if all(draw.stream is None and draw.weight is None and draw.reused is None for draw in draws):
        return []
    by_weight = all(draw.stream is None and draw.reused is None for draw in draws)
    reason = "weights rows" if by_weight else "draws rows out of stored sets"
    return [
        f"model.synthesis: 'statistics' knows whole sets only, and regime={regime.name} {reason};"
        " it must be samples (model.synthesis=samples)"
    ]


LIKELIHOODS = ("true_log_likelihood", "writer_losses", "reference_losses")
"""What scorers may need that an estimator offers which knows the likelihood of a row under each distribution."""


def selection_problems(
    rows: Rows,
    offers: Callable[[Any, Any], tuple[str, ...]],
    selection: SelectionSettings,
    model: Any,
    data: Any,
    decoding: object,
    regime: Regime,
    generations: int,
) -> list[str]:
    """Why a selection is not possible; the first two are for a family to fill in, by ``functools.partial``.

    ``rows``: what the rows of the family are. ``offers``: what it offers beside real rows and a stream, by the settings
    of model and data.
    """
    if getattr(model, "synthesis", "samples") == "statistics":
        return refusal(selection, "model.synthesis=statistics, which draws no rows", "model.synthesis=samples")
    offered = (*offers(model, data), "real_rows", "stream")
    where = f"model.family={model.family} with data.kind={data.kind}"
    problems = [*lacking(selection, rows, offered, where), *prompt_problems(selection, model)]
    checked = getattr(selection.scorer and selection.scorer.settings, "row_problems", None)
    problems += checked(data.numbers_per_row) if checked and not problems else []
    return [*problems, *_candidate_problems(selection, model, data, regime, generations)]


def most_candidates(selection: SelectionSettings, data: Any, regime: Regime, generations: int) -> int:
    """The rows that a model writes at most, for the selection to choose among."""
    asked = {0, generations, *regime.kinds_of_generation(generations)}
    return max(rows_of(selection.candidates(synthetic_rows(regime, t)), data.rows) for t in asked)


def _candidate_problems(
    selection: SelectionSettings, model: Any, data: Any, regime: Regime, generations: int
) -> list[str]:
    """Why the candidates of one model do not fit into memory, all replicates together."""
    machine = physical_memory()
    if machine is None or not selection.selects_synthetic:
        return []
    count = most_candidates(selection, data, regime, generations)
    needed = model.replicates * count * data.numbers_per_row * BYTES_PER_NUMBER * COPIES_HELD
    if needed <= machine:
        return []
    return [
        f"selection.oversampling: {count:,} candidates of {model.replicates} replicates take {_gigabytes(needed)}, and"
        f" this machine has {_gigabytes(machine)}; choose fewer of either"
    ]


def statistics_diet_problems(
    population: PopulationSettings, model: Any, data: object, regime: Regime, generations: int
) -> list[str]:
    """Why the diet needs samples, if it does."""
    by_statistics = getattr(model, "synthesis", "samples") == "statistics"
    if not population.is_active or population.diet != "union" or not by_statistics:
        return []
    return [
        "model.synthesis: 'statistics' knows whole sets only, and population.diet=union draws rows out of several;"
        " it must be samples (model.synthesis=samples)"
    ]


BYTES_PER_NUMBER = 8
COPIES_HELD = 2
"""Every set as it was drawn, and all of them one after another."""
COPIES_TRAINED = 1
"""Of the training set, in the order that the fit needs."""


def memory_problems(model: Any, data: Any, decoding: object, regime: Regime, generations: int) -> list[str]:
    """Why the generation that draws from the most sets does not fit; what to set instead."""
    by_statistics = getattr(model, "synthesis", "samples") == "statistics"
    machine = physical_memory()
    if by_statistics or machine is None:
        return []
    each, largest = _most_bytes(data.rows, data.numbers_per_row, regime, generations)
    if each * model.replicates <= machine:
        return []
    ways = ["a regime.window", "fewer generations or data.rows"]
    if fitting := machine // each:
        ways.insert(0, f"model.replicates={fitting}")
    if hasattr(model, "synthesis") and not statistics_problems(regime, generations):
        ways.insert(0, "model.synthesis=statistics, which holds no samples")
    return [
        f"model.replicates: {model.replicates} chains under regime={regime.name} hold samples of"
        f" {_gigabytes(each * model.replicates)} at generation {largest}, and this machine has"
        f" {_gigabytes(machine)}; choose {', '.join(ways[:-1])} or {ways[-1]}"
    ]


def population_memory_problems(
    population: PopulationSettings, model: Any, data: Any, regime: Regime, generations: int
) -> list[str]:
    """Why the members of all replicates do not fit together, where those of one model would."""
    by_statistics, machine = getattr(model, "synthesis", "samples") == "statistics", physical_memory()
    if by_statistics or machine is None or not population.is_active:
        return []
    alone, _ = _most_bytes(data.rows, data.numbers_per_row, regime, generations)
    each, largest = _most_bytes(data.rows // population.parts, data.numbers_per_row, regime, generations)
    needed = each * model.replicates * population.models
    if needed <= machine or alone * model.replicates > machine:
        return []
    fitting = machine // (each * population.models)
    return [
        f"population.models: {population.models} members of {model.replicates} replicates under regime={regime.name}"
        f" hold samples of {_gigabytes(needed)} at generation {largest}, and this machine has {_gigabytes(machine)};"
        f" choose {f'model.replicates={fitting} or ' if fitting else ''}fewer members, generations or data.rows"
    ]


POPULATION_CHECKS = (statistics_diet_problems, population_memory_problems)
"""What is wrong between population, model, data, regime and the number of generations."""


def _most_bytes(rows: int, numbers_per_row: int, regime: Regime, generations: int) -> tuple[int, int]:
    """Bytes of a replicate in the generation that needs the most, and that generation."""
    # Under settings of shares that is the last one.
    candidates = {generations, *list(regime.kinds_of_generation(generations))[3:]}
    return max((bytes_per_replicate(rows, numbers_per_row, regime, t), t) for t in candidates)


def bytes_per_replicate(rows: int, numbers_per_row: int, regime: Regime, generation: int) -> int:
    """Bytes of the sets that a generation draws from, and of what is made of them, for one replicate."""
    draws = compose(regime, generation, seed=0)
    sizes = {source: held_rows(source, regime, rows) for draw in draws for source in draw.sources}
    held, trained = sum(sizes.values()), sum(count_rows(draws, sizes, rows))
    return BYTES_PER_NUMBER * numbers_per_row * (COPIES_HELD * held + COPIES_TRAINED * trained)


def physical_memory() -> int | None:
    """Bytes of the machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
