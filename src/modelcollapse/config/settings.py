"""Settings of a whole chain, read from the composed configuration and checked across groups."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

from modelcollapse.config.other_names import with_advice
from modelcollapse.edits.settings import NO_EDIT, edit_problems, edited_regime_problems, is_edited
from modelcollapse.families.options import FamilyOptions, family_options
from modelcollapse.merges.settings import NO_MERGE, merge_problems
from modelcollapse.metrics.base import MetricsSettings, metric_problems
from modelcollapse.populations.members import shares_of
from modelcollapse.populations.settings import (
    NO_POPULATION,
    PopulationSettings,
    population_refusal,
    refuse,
    too_many_members,
)
from modelcollapse.record.registration import logger_problems
from modelcollapse.record.tracking import TrackingSettings, tracking_problems
from modelcollapse.regimes import DrawError
from modelcollapse.regimes.availability import row_problems
from modelcollapse.regimes.rules import RegimeReader, composition_problems
from modelcollapse.registry import MEMBER_GROUPS, Choice, Member, Registered, registry
from modelcollapse.selections.settings import (
    NO_SELECTION,
    SelectionSettings,
    training_set_problems,
    training_set_refusal,
)
from modelcollapse.settings import (
    EXECUTION,
    FILES,
    UNKNOWN,
    IntroducedAs,
    Range,
    Seed,
    SettingsError,
    Unresolved,
    UseOfUnknownError,
    nearest,
    read_what_can_be,
    shown,
)
from modelcollapse.training.settings import TrainerSettings, callback_problems


@dataclass(frozen=True)
class StoreSettings:
    """What the store keeps."""

    keep: Literal["all", "ends"]
    """Weights of every generation, or of generation 0 and the last only."""
    on_damage: Literal["recompute", "stop"]
    """What happens when a finished artifact turns out damaged."""
    redo: bool = False
    """Whether more than ten minutes of finished work are done again beside it because code was edited."""


@dataclass(frozen=True)
class PathsSettings:
    """Where things are."""

    store: Annotated[str, FILES]
    """Folder of finished work, shared by all runs."""


@dataclass(frozen=True)
class ChainSettings:
    """One chain of generations."""

    name: str
    """Name of the experiment; runs of one name form a group."""
    seed: Seed
    """Seed of the chain; chains of different seeds are independent."""
    generations: Annotated[int, Range(low=0, high=100_000), EXECUTION]
    """Generations after the one trained on real data."""
    plan: Annotated[bool, EXECUTION]
    """Print what would be computed, and compute nothing."""
    model: Any
    """Settings of the model family."""
    data: Any
    """Settings of the real data."""
    regime: Annotated[Any, RegimeReader()]
    """What each generation trains on."""
    decoding: Any
    """How synthetic sets are generated."""
    selection: Annotated[SelectionSettings, IntroducedAs(NO_SELECTION)]
    """Which of the generated rows are kept."""
    merge: Annotated[Choice, Registered("merges"), IntroducedAs(NO_MERGE)]
    """How weights are changed after each fit, by those of other generations."""
    editing: Annotated[Choice, Registered("edits"), IntroducedAs(NO_EDIT)]
    """How real data are changed, in the place of data that models write."""
    population: Annotated[PopulationSettings, IntroducedAs(NO_POPULATION)]
    """Whether there are several models, and whose rows each is trained on."""
    trainer: TrainerSettings
    """Where and how the work is executed."""
    metrics: Annotated[MetricsSettings, EXECUTION]
    """Which metrics are computed."""
    tracking: Annotated[TrackingSettings, EXECUTION]
    """Weights & Biases."""
    paths: Annotated[PathsSettings, EXECUTION]
    """Where things are."""
    store: Annotated[StoreSettings, EXECUTION]
    """What the store keeps."""
    callbacks: Annotated[tuple[Annotated[Any, Registered("callbacks")], ...], EXECUTION] = ()
    """Lightning callbacks of each generation's fit; those that can change what is learnt are in its key."""
    logger: Annotated[tuple[Annotated[Any, Registered("loggers")], ...], EXECUTION] = ()
    """Loggers, views of the run's own files; ``wandb`` is one without being named, unless ``tracking=none``."""
    remedy: Annotated[str | None, EXECUTION] = None
    """Name of the remedy against collapse that the other settings make, for people: reports tell chains apart by it."""
    objective: Annotated[str | None, EXECUTION] = None
    """Metric of the last generation that train.py returns to a sweeper, by its flat name; null: the first one shown."""


def read_chain_settings(values: Mapping[str, Any]) -> ChainSettings:
    """The settings of a chain from the composed configuration.

    Raises SettingsError with every problem found: those of single settings, and those between settings that are not
    wrong in themselves.
    """
    problems: list[str] = []
    members = {group: _chosen(values, group, problems) for group in MEMBER_GROUPS}
    family = family_options(members["model"].name) if members["model"] else None
    foreign = _foreign_groups(members, family) if family else {}
    problems += foreign.values()
    classes = {group: member.settings if member else None for group, member in members.items()}
    settings, found = read_what_can_be(ChainSettings, _without_consequences(values, bool(problems)), classes=classes)
    problems += map(with_advice, found)
    problems += _known(partial(metric_problems, settings.metrics))
    problems += _known(partial(tracking_problems, settings.tracking))
    problems += _known(partial(logger_problems, settings.logger, settings.tracking))
    if family:
        problems += _problems_between(settings, family, foreign)
    if problems:
        raise SettingsError(problems)
    return settings


def used_members(settings: ChainSettings) -> list[Member]:
    """The registered members that a chain uses by name: family, kind of data, decoding, metrics that were added, ..."""
    groups = {kind: getattr(getattr(settings, group), word) for group, (kind, word) in MEMBER_GROUPS.items()}
    added = (("metrics", name) for name in settings.metrics.add)
    chosen = dict.fromkeys([*groups.items(), *added, *((choice.kind, choice.name) for choice in _choices(settings))])
    return [registry(kind)[name] for kind, name in chosen]


def _choices(settings: Any) -> Iterator[Choice]:
    if isinstance(settings, Choice):
        yield settings
    if is_dataclass(settings):
        yield from (choice for field in fields(settings) for choice in _choices(getattr(settings, field.name)))
    elif isinstance(settings, (list, tuple)):
        yield from (choice for each in settings for choice in _choices(each))


def _chosen(values: Mapping[str, Any], group: str, problems: list[str]) -> Any:
    """The member that a group names, or None and a problem."""
    kind, field = MEMBER_GROUPS[group]
    name, known = _word(values, group, field), registry(kind)
    if isinstance(name, str) and name in known:
        return known[name]
    problems.append(
        f"{group}.{field}: {shown(name)} is not allowed{nearest(name, known)}; it must be one of"
        f" {', '.join(known)}{known.not_loaded()}"
    )
    return None


def _foreign_groups(members: Mapping[str, Any], family: FamilyOptions) -> dict[str, str]:
    """The groups whose member does not go with the family, and the message."""
    data, decoding = members["data"], members["decoding"]
    fits = data is None or data.options["form"] in family.forms
    writes = decoding is None or decoding.options.get("decodes", True) == family.decodes
    return {
        group: f"{group}.kind: {members[group].name!r} does not go with model.family={members['model'].name}; choose"
        f" {family.companions}"
        for group, is_right in (("data", fits), ("decoding", writes))
        if not is_right
    }


def _word(values: Mapping[str, Any], group: str, field: str) -> Any:
    settings = values.get(group)
    return settings.get(field) if isinstance(settings, Mapping) else None


def _without_consequences(values: Any, is_group_wrong: bool) -> Any:
    """The values without references that lead nowhere only because what they refer to is missing or a wrong group."""
    if isinstance(values, Mapping):
        return {
            name: UNKNOWN if isinstance(value, Unresolved) and (value.is_consequence or is_group_wrong) else value
            for name, value in ((name, _without_consequences(value, is_group_wrong)) for name, value in values.items())
        }
    return values


def _problems_between(settings: ChainSettings, family: FamilyOptions, foreign: Collection[str]) -> list[str]:
    """Problems between settings, as far as these are known."""
    regime_problems = _known(lambda: list(settings.regime.problems()))
    regime_problems += [] if regime_problems else _known(partial(_composition_problems, settings))
    regime: Any = UNKNOWN if regime_problems else settings.regime
    data, decoding = (UNKNOWN if group in foreign else getattr(settings, group) for group in ("data", "decoding"))
    of_member = _member_data(settings, family, data)
    checks = [partial(check, settings.model, data, decoding, regime) for check in family.checks]
    checks += [
        partial(check, settings.model, of_member, decoding, regime, settings.generations)
        for check in family.chain_checks
    ]
    checks += [
        partial(_selection_problems, settings, family),
        partial(training_set_problems, settings.selection, regime, settings.generations),
    ]
    checks += [
        partial(check, settings.selection, settings.model, of_member, decoding, regime, settings.generations)
        for check in family.selection_checks
    ]
    population = settings.population
    checks += [
        partial(check, population, settings.model, data, regime, settings.generations)
        for check in family.population_checks
    ]
    checks += [
        partial(_merge_problems, settings, family),
        partial(_population_problems, settings, family),
        partial(edit_problems, settings.editing, family.edits, settings.model, settings.selection),
        partial(edited_regime_problems, settings.editing, regime, settings.generations),
        partial(_accelerator_problems, settings, family),
        partial(_device_problems, settings, family),
        partial(_share_problems, settings, family),
        partial(_fit_argument_problems, settings, family),
        partial(callback_problems, settings.callbacks, settings.model),
        partial(_row_problems, regime, settings.generations, data, population, settings.selection),
    ]
    return [*regime_problems, *(problem for check in checks for problem in _known(check))]


def _member_data(settings: ChainSettings, family: FamilyOptions, data: Any) -> Any:
    """The data as a member of a population has them, where the members are replicates; else those of the chain."""
    if family.populations != "replicates":
        return data
    try:
        parts = settings.population.parts
        return data if parts == 1 else replace(data, rows=max(1, data.rows // parts))
    except UseOfUnknownError:
        return data


def _known(check: Callable[[], list[str]]) -> list[str]:
    """What a check finds; nothing where it depends on a setting that is wrong in itself, or on rows there are not."""
    try:
        return check()
    except (UseOfUnknownError, DrawError):
        return []


def _composition_problems(settings: ChainSettings) -> list[str]:
    return composition_problems(settings.regime, settings.generations)


def _selection_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    refused = [] if family.selects_training_sets else training_set_refusal(settings.selection, settings.model)
    return [*settings.selection.problems(), *refused]


def _merge_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    return merge_problems(settings.merge, family.merges, settings.model.family)


def _population_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    if is_edited(settings.editing):
        return population_refusal(settings.population, f"editing={settings.editing.name}")
    if family.populations == "none":
        return refuse(settings.population, settings.model)
    problems = settings.population.problems()
    if family.populations == "replicates" and settings.population.unequal_sizes and not problems:
        return [
            f"population.sizes: unequal sizes are not allowed with model.family={settings.model.family}, whose members"
            " are one batch of as many rows each; it must be null"
        ]
    return problems


def _row_problems(
    regime: Any, generations: int, data: Any, population: PopulationSettings, selection: SelectionSettings
) -> list[str]:
    """Rows that the regime asks for and a lineage lacks; where real data are split, each has a part of them."""
    smallest = min(shares_of(population))
    if data.real_rows is not None and data.real_rows * smallest < 1:
        return [too_many_members(population.models, data.real_rows, population.unequal_sizes)]
    if training_set_problems(selection, regime, generations):
        # What says more of the same rows.
        return []
    return row_problems(regime, generations, data, smallest, selection.kept)


def _accelerator_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    trainer = settings.trainer
    problems = []
    if trainer.accelerator not in family.accelerators:
        problems.append(
            f"trainer.accelerator: {trainer.accelerator!r} is of no use to model.family={settings.model.family}, which"
            f" computes in float64 on the CPU; it must be {' or '.join(family.accelerators)}"
        )
    if trainer.accelerator == "cpu" and trainer.precision == "16-mixed":
        problems.append(
            "trainer.precision: '16-mixed' needs a GPU; with trainer.accelerator=cpu it must be 32-true or bf16-mixed"
        )
    return problems


def _device_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    devices = settings.trainer.devices
    if devices == 1:
        return []
    if not family.shares_fits:
        return [
            f"trainer.devices: {devices} are of no use to model.family={settings.model.family}, which is computed on"
            " one device; it must be 1"
        ]
    if settings.trainer.accelerator == "mps":
        return [f"trainer.devices: {devices} is not allowed with trainer.accelerator=mps; it must be 1"]
    return []


def _fit_argument_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    training = settings.model.training if family.takes_trainer_arguments else None
    return settings.trainer.fit_problems(settings.model.family, training)


def _share_problems(settings: ChainSettings, family: FamilyOptions) -> list[str]:
    """Batches that have fewer rows than there are devices."""
    fits = {"model.training": settings.model.training} if family.shares_fits else {}
    if base := getattr(settings.model, "base", None):
        fits["model.base.training"] = base.training
    return [
        f"trainer.devices: {settings.trainer.devices} devices cannot share batches of {name}.batch_size="
        f"{fit.batch_size} rows; it must be at most that"
        for name, fit in fits.items()
        if fit.batch_size < settings.trainer.devices
    ]
