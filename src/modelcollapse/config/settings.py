"""Settings of a whole chain, read from the composed configuration and checked across groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from modelcollapse.data import settings as data_settings
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.discrete import settings as discrete_settings
from modelcollapse.families.estimators.settings import memory_problems
from modelcollapse.families.gaussian import settings as gaussian_settings
from modelcollapse.families.gaussian_mixture import settings as gaussian_mixture_settings
from modelcollapse.families.language_model import settings as language_model_settings
from modelcollapse.families.vae import settings as vae_settings
from modelcollapse.record.wandb_view import TrackingSettings
from modelcollapse.regimes import DrawError, RegimeSettings
from modelcollapse.regimes.availability import row_problems
from modelcollapse.settings import (
    UNKNOWN,
    Range,
    SettingsError,
    Unresolved,
    UseOfUnknownError,
    nearest,
    read_what_can_be,
)
from modelcollapse.training.settings import TrainerSettings


@dataclass(frozen=True)
class StoreSettings:
    """What the store keeps."""

    keep: Literal["all", "ends"]
    """Weights of every generation, or of generation 0 and the last only."""
    on_damage: Literal["recompute", "stop"]
    """What happens when a finished artifact turns out damaged."""


@dataclass(frozen=True)
class PathsSettings:
    """Where things are."""

    store: str
    """Folder of finished work, shared by all runs."""


@dataclass(frozen=True)
class ChainSettings:
    """One chain of generations."""

    name: str
    """Name of the experiment; runs of one name form a group."""
    seed: Annotated[int, Range(low=0)]
    """Seed of the chain; chains of different seeds are independent."""
    generations: Annotated[int, Range(low=0, high=100_000)]
    """Generations after the one trained on real data."""
    plan: bool
    """Print what would be computed, and compute nothing."""
    model: Any
    """Settings of the model family."""
    data: Any
    """Settings of the real data."""
    regime: RegimeSettings
    """What each generation trains on."""
    decoding: Any
    """How the synthetic sets are written."""
    trainer: TrainerSettings
    """Where and how the work is executed."""
    tracking: TrackingSettings
    """Weights & Biases."""
    paths: PathsSettings
    """Where things are."""
    store: StoreSettings
    """What the store keeps."""


@dataclass(frozen=True)
class NoDecodingSettings:
    """For families whose synthetic sets are samples of the model itself."""

    kind: Literal["none"]
    """Names the way of writing."""


NO_DECODING = {"none": NoDecodingSettings}


Check = Callable[[Any, Any, Any, Any], list[str]]
"""What is wrong between model, data, decoding and regime, each allowed by itself: one message a problem."""


@dataclass(frozen=True)
class FamilySettings:
    """The settings classes of one model family, and the checks across them."""

    model: type
    data: Mapping[str, type]
    """Settings class of each ``data.kind`` that the family fits."""
    decoding: Mapping[str, type]
    """Settings class of each ``decoding.kind`` that the family writes by."""
    goes_with: str
    """Groups to choose beside the model, told to who chose others."""
    checks: tuple[Check, ...]
    """Each looks at few settings: one that needs a setting that is wrong in itself is left out."""
    accelerators: tuple[str, ...] = ("auto", "cpu", "gpu", "mps")
    """Where the family can be computed."""
    shares_fits: bool = False
    """Whether several devices can share a fit: it then has gradients to be averaged."""


FLOAT64_ON_CPU = ("auto", "cpu")
FAMILIES = {
    "language_model": FamilySettings(
        model=language_model_settings.LanguageModelSettings,
        data={
            "language": data_settings.LanguageDataSettings,
            "text_files": data_settings.TextFilesDataSettings,
            "hub": data_settings.HubDataSettings,
        },
        decoding={"beam": DecodingSettings, "sample": DecodingSettings},
        goes_with="data=language decoding=beam",
        checks=language_model_settings.CHECKS,
        shares_fits=True,
    ),
    "gaussian": FamilySettings(
        model=gaussian_settings.GaussianSettings,
        data={"gaussian_samples": data_settings.GaussianSamplesSettings},
        decoding=NO_DECODING,
        goes_with="data=gaussian_samples decoding=none",
        checks=gaussian_settings.CHECKS,
        accelerators=FLOAT64_ON_CPU,
    ),
    "gaussian_mixture": FamilySettings(
        model=gaussian_mixture_settings.GaussianMixtureSettings,
        data={"gaussian_samples": data_settings.GaussianSamplesSettings},
        decoding=NO_DECODING,
        goes_with="data=gaussian_samples decoding=none",
        checks=gaussian_mixture_settings.CHECKS,
        accelerators=FLOAT64_ON_CPU,
    ),
    "discrete": FamilySettings(
        model=discrete_settings.DiscreteSettings,
        data={"categorical_samples": data_settings.CategoricalSamplesSettings},
        decoding=NO_DECODING,
        goes_with="data=categorical_samples decoding=none",
        checks=discrete_settings.CHECKS,
        accelerators=FLOAT64_ON_CPU,
    ),
    "vae": FamilySettings(
        model=vae_settings.VaeSettings,
        data={"digits": data_settings.DigitsDataSettings, "images": data_settings.ImagesDataSettings},
        decoding=NO_DECODING,
        goes_with="data=mnist (or data=digits) decoding=none",
        checks=vae_settings.CHECKS,
        shares_fits=True,
    ),
}


def read_chain_settings(values: Mapping[str, Any]) -> ChainSettings:
    """The settings of a chain from the composed configuration.

    Raises SettingsError with every problem found: those of single settings, and those between settings that are not
    wrong in themselves.
    """
    problems: list[str] = []
    family = _chosen(FAMILIES, values, "model", "family", problems)
    classes = {"model": family.model if family else None}
    foreign = []
    for group in ("data", "decoding"):
        classes[group] = _chosen(_kinds(group), values, group, "kind", problems)
        if family and classes[group] and _word(values, group, "kind") not in getattr(family, group):
            foreign.append(group)
            problems.append(
                f"{group}.kind: {_word(values, group, 'kind')!r} does not go with model.family="
                f"{_word(values, 'model', 'family')}; choose {family.goes_with}"
            )
    settings, found = read_what_can_be(ChainSettings, _without_consequences(values, bool(problems)), classes=classes)
    problems += found
    if family:
        problems += _problems_between(settings, family, foreign)
    if problems:
        raise SettingsError(problems)
    return settings


def _kinds(group: str) -> dict[str, type]:
    """The kinds of data, or of decoding, of all families."""
    return {kind: cls for family in FAMILIES.values() for kind, cls in getattr(family, group).items()}


def _chosen(known: Mapping[str, Any], values: Mapping[str, Any], group: str, field: str, problems: list[str]) -> Any:
    """What the word in a group stands for, or None and a problem."""
    word = _word(values, group, field)
    if isinstance(word, str) and word in known:
        return known[word]
    allowed = ", ".join(known)
    problems.append(f"{group}.{field}: {word!r} is not allowed{nearest(str(word), known)}; it must be one of {allowed}")
    return None


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


def _problems_between(settings: ChainSettings, family: FamilySettings, foreign: Sequence[str]) -> list[str]:
    """What is wrong between settings, as far as they are known."""
    regime_problems = _known(settings.regime.problems)
    regime: Any = UNKNOWN if regime_problems else settings.regime
    data, decoding = (UNKNOWN if group in foreign else getattr(settings, group) for group in ("data", "decoding"))
    checks = [partial(check, settings.model, data, decoding, regime) for check in family.checks]
    checks += [
        partial(_accelerator_problems, settings, family),
        partial(_device_problems, settings, family),
        partial(_share_problems, settings, family),
        partial(row_problems, regime, settings.generations, data),
        partial(memory_problems, settings.model, data, regime, settings.generations),
    ]
    return [*regime_problems, *(problem for check in checks for problem in _known(check))]


def _known(check: Callable[[], list[str]]) -> list[str]:
    """What a check finds; nothing where it depends on a setting that is wrong in itself, or on rows there are not."""
    try:
        return check()
    except (UseOfUnknownError, DrawError):
        return []


def _accelerator_problems(settings: ChainSettings, family: FamilySettings) -> list[str]:
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


def _device_problems(settings: ChainSettings, family: FamilySettings) -> list[str]:
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


def _share_problems(settings: ChainSettings, family: FamilySettings) -> list[str]:
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
