"""Settings of the edits that have any, and what is wrong between an edit, a family and a regime."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.regimes import Regime, synthetic_rows
from modelcollapse.registry import Choice
from modelcollapse.selections.settings import SelectionSettings
from modelcollapse.settings import FILES, IntroducedAs, OptionalCount, Range

TOKENS, LABELS = "tokens", "labels"
"""What edits are of: the option ``of`` of their registration."""
NO_EDIT = Choice("edits", "none")
Prior = Literal["latest", "generation0", "pretrained", "folder"]
PRIOR_FOLDER = "editing.folder"
"""The setting that names a folder, and what has the stages of one, see ``Stage.only_with``."""


@dataclass(frozen=True)
class TokenResamplingSettings:
    """Settings of the edit ``token_resampling``."""

    above: Annotated[float, Range(low=0, high=1)]
    """p: tokens of a higher probability under the prior are resampled."""
    top_k: OptionalCount
    """They are drawn from the k most probable tokens; 0 from all."""
    prior: Prior
    """Whose probabilities: those of the model of the generation, of generation 0's, of the weights before it, or of the
    model in `folder`.
    """
    folder: Annotated[Annotated[str, FILES] | None, IntroducedAs(None)] = None
    """Folder of the model whose probabilities `prior=folder` takes; it knows the tokens of the chain's tokenizer."""


@dataclass(frozen=True)
class LabelResamplingSettings:
    """Settings of the edit ``label_resampling``."""

    share: Annotated[float, Range(low=0, high=1)]
    """Share of the rows whose labels are edited first, tr M_0 / n."""
    decay: Annotated[float, Range(low=0, high=1)]
    """eta: tr M_t = eta^t tr M_0 labels are edited in generation t."""


def is_edited(edit: Choice) -> bool:
    """Whether edited real data take the place of synthetic ones."""
    return edit.name != NO_EDIT.name


def prior_of(edit: Choice) -> Prior:
    """Whose probabilities an edit of tokens goes by; of one that does not say, those of the generation's model."""
    prior: Prior = getattr(edit.settings, "prior", "latest")
    return prior


def folder_of(edit: Choice) -> str | None:
    """The folder of the model whose probabilities an edit goes by; None where they are of another."""
    folder: str | None = getattr(edit.settings, "folder", None)
    return folder if prior_of(edit) == "folder" else None


def edit_recipe(edit: Choice) -> dict[str, Any]:
    """What decides an edit, for a recipe; a folder is a parent there, by its content, and its place says nothing."""
    recipe = edit.recipe()
    return {**recipe, "settings": {name: value for name, value in recipe["settings"].items() if name != "folder"}}


def edit_problems(edit: Choice, edits: str, model: Any, selection: SelectionSettings) -> list[str]:
    """What is wrong between an edit and what a family has to edit, its model, and the selection."""
    if not is_edited(edit):
        return []
    of, place = edit.member.options.get("of", TOKENS), f"editing.name: {edit.name!r}"
    if of != edits:
        return [f"{place} edits {of}, which model.family={model.family} does not have; choose editing=none"]
    problems = _label_problems(place, model) if of == LABELS else _prior_problems(edit, model)
    if selection.is_active:
        problems.append(f"{place} writes nothing that could be selected; choose selection=none")
    return problems


def edited_regime_problems(edit: Choice, regime: Regime, generations: int) -> list[str]:
    """Why a regime cannot be had with an edit: the edited data are as many as the real ones."""
    asked = [t for t in regime.kinds_of_generation(generations) if synthetic_rows(regime, t - 1) != 1]
    if not is_edited(edit) or not asked:
        return []
    return [
        f"editing.name: {edit.name!r} gives as many rows as are real, and regime={regime.name} asks generation"
        f" {asked[0] - 1} for another number; choose a regime that takes n of each"
    ]


def _label_problems(place: str, model: Any) -> list[str]:
    problems = []
    if getattr(model, "features", "same") != "same":
        problems.append(f"{place} edits the labels of the real features; model.features must be same")
    if getattr(model, "synthesis", "samples") != "samples":
        problems.append(f"{place} edits rows, of which sums say nothing; model.synthesis must be samples")
    return problems


def _prior_problems(edit: Choice, model: Any) -> list[str]:
    has_folder = getattr(edit.settings, "folder", None) is not None
    if prior_of(edit) == "folder" and not has_folder:
        return ["editing.folder: is null, and editing.prior=folder takes the probabilities of a model from there"]
    if has_folder and prior_of(edit) != "folder":
        return [
            f"editing.folder: is of no use with editing.prior={prior_of(edit)}; it must be null, or the prior folder"
        ]
    if prior_of(edit) != "pretrained" or model.pretrained or model.base:
        return []
    return [
        "editing.prior: 'pretrained' needs model.pretrained=PATH_OR_ID or model.base.text=FILE; without either it must"
        " be latest, generation0 or folder"
    ]
