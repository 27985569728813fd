"""Settings of a whole chain, read from the composed configuration and checked across groups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.regimes import RegimeSettings
from modelcollapse.settings import discrete, gaussian, gaussian_mixture, language_model, vae
from modelcollapse.settings.reading import Range, SettingsError, nearest, read
from modelcollapse.tracking import TrackingSettings


@dataclass(frozen=True)
class TrainerSettings:
    """Where and how the work is executed."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    """Device that computes; one a chain."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    """Arithmetic of fitting, scoring and writing; in every key."""
    threads: Annotated[int, Range(low=1)] | None
    """CPU threads; null leaves them to torch. Bits are promised for an equal number only."""
    scoring_batch_size: Annotated[int, Range(low=1)]
    """Blocks scored at once."""
    progress: bool
    """Whether progress bars are drawn on a terminal."""


@dataclass(frozen=True)
class StoreSettings:
    """What the store keeps."""

    keep: Literal["all", "ends"]
    """Weights of every generation, or of generation 0 and the last only."""
    on_damage: Literal["recompute", "stop"]
    """What happens when a finished piece turns out damaged."""


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
    generations: Annotated[int, Range(low=0)]
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


@dataclass(frozen=True)
class FamilySettings:
    """The settings classes of one model family, and the check across them."""

    model: type
    data: Mapping[str, type]
    """Settings class of each ``data.kind`` that the family fits."""
    decoding: Mapping[str, type]
    """Settings class of each ``decoding.kind`` that the family writes by."""
    goes_with: str
    """Groups to choose beside the model, told to who chose others."""
    impossible_combinations: Callable[[Any, Any, Any, RegimeSettings], list[str]]
    """Problems between model, data, decoding and regime."""


FAMILIES = {
    "language_model": FamilySettings(
        model=language_model.LanguageModelSettings,
        data={
            "language": language_model.LanguageDataSettings,
            "text_files": language_model.TextFilesDataSettings,
            "hub": language_model.HubDataSettings,
        },
        decoding={"beam": language_model.DecodingSettings, "sample": language_model.DecodingSettings},
        goes_with="data=language decoding=beam",
        impossible_combinations=language_model.impossible_combinations,
    ),
    "gaussian": FamilySettings(
        model=gaussian.GaussianSettings,
        data={"gaussian_samples": gaussian.GaussianSamplesSettings},
        decoding=NO_DECODING,
        goes_with="data=gaussian_samples decoding=none",
        impossible_combinations=gaussian.impossible_combinations,
    ),
    "gaussian_mixture": FamilySettings(
        model=gaussian_mixture.GaussianMixtureSettings,
        data={"gaussian_samples": gaussian.GaussianSamplesSettings},
        decoding=NO_DECODING,
        goes_with="data=gaussian_samples decoding=none",
        impossible_combinations=gaussian_mixture.impossible_combinations,
    ),
    "discrete": FamilySettings(
        model=discrete.DiscreteSettings,
        data={"categorical_samples": discrete.CategoricalSamplesSettings},
        decoding=NO_DECODING,
        goes_with="data=categorical_samples decoding=none",
        impossible_combinations=discrete.impossible_combinations,
    ),
    "vae": FamilySettings(
        model=vae.VaeSettings,
        data={"digits": vae.DigitsDataSettings, "images": vae.ImagesDataSettings},
        decoding=NO_DECODING,
        goes_with="data=mnist (or data=digits) decoding=none",
        impossible_combinations=vae.impossible_combinations,
    ),
}


def read_chain_settings(values: Mapping[str, Any]) -> ChainSettings:
    """The settings of a chain from the composed configuration.

    Raises SettingsError with every problem found: first those of single settings, then those between settings.
    """
    refuse_foreign_groups(values)
    family = _chosen(FAMILIES, values.get("model"), "model.family", "family")
    data = _chosen(family.data, values.get("data"), "data.kind", "kind")
    decoding = _chosen(family.decoding, values.get("decoding"), "decoding.kind", "kind")
    classes = {"model": family.model, "data": data, "decoding": decoding}
    settings = read(ChainSettings, values, classes=classes)
    problems = settings.regime.problems()
    if not problems:
        problems = family.impossible_combinations(settings.model, settings.data, settings.decoding, settings.regime)
    if problems:
        raise SettingsError(problems)
    return settings


def refuse_foreign_groups(values: Mapping[str, Any]) -> None:
    """Check that data and decoding were chosen for the model's family; interpolations may still be unresolved.

    Raises SettingsError that says what to choose instead.
    """
    family = _chosen(FAMILIES, values.get("model"), "model.family", "family")
    problems = []
    for group, own in (("data", family.data), ("decoding", family.decoding)):
        kind = _word(values.get(group), "kind")
        known = {word for other in FAMILIES.values() for word in getattr(other, group)}
        if kind in known and kind not in own:
            problems.append(
                f"{group}.kind: {kind!r} does not go with model.family={values['model']['family']};"
                f" choose {family.goes_with}"
            )
    if problems:
        raise SettingsError(problems)


def _chosen(known: Mapping[str, Any], group: Any, setting: str, field: str) -> Any:
    word = group.get(field) if isinstance(group, Mapping) else None
    if not isinstance(word, str) or word not in known:
        allowed = ", ".join(known)
        raise SettingsError(
            [f"{setting}: {word!r} is not allowed{nearest(str(word), known)}; it must be one of {allowed}"]
        )
    return known[word]


def _word(group: Any, field: str) -> Any:
    return group.get(field) if isinstance(group, Mapping) else None
