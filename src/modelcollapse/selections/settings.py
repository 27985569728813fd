"""Settings of a selection, and what is wrong between them and what a family can offer."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from modelcollapse.regimes.composition import compose
from modelcollapse.regimes.shares import exact
from modelcollapse.registry import PACKAGE, Choice, Registered, needs_of, registry
from modelcollapse.settings import IntroducedAs, Range

if TYPE_CHECKING:
    from modelcollapse.regimes import Draw, Regime

SCORES, STREAM, SHORTFALL, IS_SYNTHETIC = "scores", "stream", "shortfall", "is_synthetic"
Scope = Literal["synthetic", "training_set"]
Shortfall = Literal["stop", "repeat"]
Within = Literal["set", "prompt"]
Rows = Literal["texts", "images", "points", "states"]
"""What the rows of a family are: blocks of tokens, grey images, points (features with their label too), states."""
NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "reference_losses": "losses [rows] float64 of the candidates under the reference model, in nats",
        "writer_losses": "losses [rows] float64 of the candidates under the model that generated them",
        "true_log_likelihood": "log-likelihoods [rows] float64 of the candidates under the true distribution, in nats",
        "real_rows": "the rows of the real training split, stored as the candidates are",
        "is_right": "whether each candidate is right [rows] bool, where that is known: its label the more probable one",
        "texts": "the candidates as text, a list of str",
        "class_log_probabilities": "log-probabilities [rows, classes] that the chain's classifier gives the candidates",
        STREAM: "a modelcollapse.seeding.Stream for what is random",
        IS_SYNTHETIC: "whether each candidate is synthetic [rows] bool, where the rows of a training set are scored",
    }
)
"""What a scorer can ask for with ``needs``, each given as an argument of that name; a family offers some of them. Its
option ``uses`` names what it is given too where there is such a thing."""


@dataclass(frozen=True)
class SelectionSettings:
    """Which rows are kept: of those that a model generates, or of those that one is trained on."""

    rule: Annotated[Choice, Registered("rules")] | None
    """Rule that chooses among the candidates, with its settings; null keeps all that is generated."""
    scorer: Annotated[Choice, Registered("scorers")] | None
    """What gives each candidate the number that the rule looks at, with its settings; null where it looks at none."""
    oversampling: Annotated[float, Range(low=1, high=1000)]
    """Candidates generated for every row that the regime asks for."""
    scope: Scope
    """What is selected from: `synthetic`, what each model generates, once, before anything is trained on it or
    continues it; `training_set`, the rows that generations 1, 2, ... are trained on, real ones included.
    """
    within: Annotated[Within, IntroducedAs("set")] = "set"
    """Whether a rule chooses among all candidates, or for each prompt among those that continue it."""
    shortfall: Annotated[Shortfall, IntroducedAs("stop")] = "stop"
    """What happens where fewer candidates pass a rule than rows are wanted: the run stops, or rows are repeated."""
    size: Annotated[float, Range(above=0, high=1000), IntroducedAs(1.0)] = 1.0
    """Rows that `training_set` keeps, in units of the training set's."""

    @property
    def is_active(self) -> bool:
        """Whether anything is chosen: a rule that needs no scores keeps all where no more is generated than asked for.

        So a chain with ``random`` and no oversampling is the chain without a selection.
        """
        keeps_all = self.size == 1 if self.scope == "training_set" else self.oversampling == 1
        return self.rule is not None and (SCORES in needs_of_rule(self.rule) or not keeps_all)

    @property
    def selects_synthetic(self) -> bool:
        """Whether rows are chosen of what each model generates."""
        return self.is_active and self.scope == "synthetic"

    @property
    def selects_training_sets(self) -> bool:
        """Whether rows are chosen of the training sets of generations 1, 2, ..."""
        return self.is_active and self.scope == "training_set"

    @property
    def kept(self) -> float:
        """What is trained on of a training set, in units of its rows."""
        return self.size if self.selects_training_sets else 1.0

    def candidates(self, rows: float) -> float:
        """Rows that a model generates where ``rows`` are asked for, both in units of n."""
        return float(exact(rows) * exact(self.oversampling)) if self.selects_synthetic else rows

    def problems(self) -> list[str]:
        """What is wrong between these settings, a message a problem."""
        if self.rule is None:
            return self._problems_without_rule()
        if SCORES in needs_of_rule(self.rule) and self.scorer is None:
            names = ", ".join(registry("scorers"))
            return [
                f"selection.scorer: is null, and the rule {self.rule.name!r} chooses by scores; it must be one of"
                f" {names} (selection/scorer=NAME)"
            ]
        if SCORES not in needs_of_rule(self.rule) and self.scorer is not None:
            return [
                f"selection.scorer: {self.scorer.name!r} is of no use to the rule {self.rule.name!r}, which looks at no"
                " scores; it must be null"
            ]
        return self._problems_of_training_sets() if self.scope == "training_set" else self._size_problems()

    def _size_problems(self) -> list[str]:
        if self.size == 1:
            return []
        return [
            f"selection.size: {self.size:g} is of no use with selection.scope=synthetic, which keeps as many rows as"
            " the regime asks for; it must be 1, or choose selection.scope=training_set"
        ]

    def _problems_of_training_sets(self) -> list[str]:
        assert self.rule is not None
        problems = []
        if self.oversampling > 1:
            problems.append(
                f"selection.oversampling: {self.oversampling:g} is of no use with selection.scope=training_set, which"
                " chooses among the rows of a training set; it must be 1 (selection.size sets how many are kept)"
            )
        if self.within == "prompt":
            problems.append(
                "selection.within: 'prompt' is not allowed with selection.scope=training_set, whose rows continue no"
                " prompts; it must be set"
            )
        most = _most_repeats(self.rule, self.shortfall)
        if self.size > most:
            problems.append(
                f"selection.size: {self.size:g} times the rows are more than the rule {self.rule.name!r} keeps, each at"
                f" most {'once' if most == 1 else f'{most:g} times'}; it must be at most {most:g}"
                + ("" if SHORTFALL not in needs_of_rule(self.rule) else ", or selection.shortfall repeat")
            )
        return problems

    def _problems_without_rule(self) -> list[str]:
        problems = self._size_problems()
        if self.scope == "training_set":
            problems = [
                "selection.scope: 'training_set' is of no use without a rule; it must be synthetic, or choose"
                " selection=drayson"
            ]
        if self.scorer is not None:
            problems.append(f"selection.scorer: {self.scorer.name!r} is of no use without a rule; choose selection=top")
        if self.oversampling > 1:
            problems.append(
                f"selection.oversampling: {self.oversampling:g} is of no use without a rule; it must be 1, or choose"
                " selection=random or selection=top"
            )
        return problems


NO_SELECTION = SelectionSettings(rule=None, scorer=None, oversampling=1.0, scope="synthetic")


def needs_of_rule(rule: Choice) -> tuple[str, ...]:
    """What a chosen rule asks for by keyword; one whose registration does not say chooses by scores."""
    return needs_of(rule, (SCORES,))


def _most_repeats(rule: Choice, shortfall: Shortfall) -> float:
    """How often a rule keeps a row at most, by its setting ``most_repeats``; a rule from outside may say nothing."""
    repeats = getattr(rule.settings, "most_repeats", None)
    if repeats is not None:
        return float(repeats)
    is_free = rule.member.origin != PACKAGE or (SHORTFALL in needs_of_rule(rule) and shortfall == "repeat")
    return math.inf if is_free else 1.0


def training_set_problems(selection: SelectionSettings, regime: "Regime", generations: int) -> list[str]:
    """Why a selection of training sets is not possible under a regime, a message a problem."""
    if not selection.selects_training_sets:
        return []
    if getattr(regime, "weighting", "none") == "golden_ratio":
        return [
            "selection.scope: 'training_set' is not allowed with regime.weighting=golden_ratio, whose share of weight"
            " for real rows it would change; choose selection.scope=synthetic or regime.weighting=none"
        ]
    compositions = [compose(regime, number, seed=0) for number in regime.kinds_of_generation(generations)]
    if problems := _reuse_problems(selection, regime, compositions):
        return problems
    scorer = selection.scorer
    has_synthetic = all(any(draw.sources[-1].kind == "synthetic" for draw in draws) for draws in compositions)
    if scorer is not None and IS_SYNTHETIC in scorer.member.options.get("uses", ()) and not has_synthetic:
        return [
            f"selection.scorer: {scorer.name!r} tells synthetic rows from real ones, and regime={regime.name} trains on"
            " no synthetic ones; choose another (selection/scorer=NAME)"
        ]
    return []


def _reuse_problems(
    selection: SelectionSettings, regime: "Regime", compositions: "Sequence[Sequence[Draw]]"
) -> list[str]:
    """Why rows of the training set before cannot be used again where these are those that a selection kept of it."""
    if getattr(regime, "beta", 0.0) == 1:
        return [
            "regime.beta: 1 trains on H again and again, which selection.scope=training_set would change; it must be"
            " below 1, or choose regime=real"
        ]
    reused = [draw for draws in compositions for draw in draws if draw.reused is not None]
    if selection.size != 1 and any(draw.stream is None for draw in reused):
        return [
            f"selection.size: {selection.size:g} is not allowed with regime={regime.name}, which uses earlier training"
            " sets again whole; it must be 1"
        ]
    most = max((draw.rows or 0 for draw in reused), default=0)
    if getattr(regime, "beta", None) is None or most <= selection.size:
        return []
    return [
        f"selection.size: {selection.size:g} keeps fewer rows of a training set than regime.beta={most:g} draws of it;"
        f" it must be at least {most:g}"
    ]


def training_set_refusal(selection: SelectionSettings, model: Any) -> list[str]:
    """The one problem of a selection of training sets, in a family that does not select from them."""
    if not selection.selects_training_sets:
        return []
    return [
        f"selection.scope: 'training_set' is not allowed with model.family={model.family}, which selects from what its"
        " models write only; it must be synthetic"
    ]


def lacking(selection: SelectionSettings, rows: Rows, offers: Collection[str], where: str) -> list[str]:
    """What the scorer needs and a family does not offer, as problems; ``where`` says which family, with what.

    ``rows`` is what the family's rows are; a scorer may say by its option ``rows`` which kinds of rows it can score.
    """
    if not selection.is_active or selection.scorer is None:
        return []
    scored = selection.scorer.member.options.get("rows", (rows,))
    if rows not in scored:
        return [
            f"selection.scorer: {selection.scorer.name!r} scores {' and '.join(scored)}, and the rows of {where} are"
            f" {rows}; choose another (selection/scorer=NAME)"
        ]
    offers = (*offers, IS_SYNTHETIC) if selection.scope == "training_set" else offers
    missing = [need for need in needs_of(selection.scorer) if need not in offers]
    if not missing:
        return []
    return [
        f"selection.scorer: {selection.scorer.name!r} needs {', '.join(missing)}, which {where} does not have; it has"
        f" {', '.join(offers)}"
    ]


def refuse(
    selection: SelectionSettings, model: Any, data: Any, decoding: Any, regime: Any, generations: int
) -> list[str]:
    """The check of a family that selects nothing."""
    if selection.selects_training_sets:
        # The check of all families that do not select from training sets says so.
        return []
    return refusal(selection, f"model.family={model.family}, which keeps all that it writes")


def refusal(selection: SelectionSettings, reason: str, instead: str = "") -> list[str]:
    """One problem where a selection is chosen that is not allowed for a reason; ``instead`` allows it."""
    if selection.rule is None or not selection.is_active:
        return []
    ways = " or ".join(way for way in (instead, "selection=none") if way)
    return [f"selection.rule: {selection.rule.name!r} is not allowed with {reason}; choose {ways}"]


def prompt_problems(selection: SelectionSettings, model: Any) -> list[str]:
    """Why nothing is chosen prompt by prompt, in a family that has no prompts."""
    if selection.within == "set":
        return []
    return [
        f"selection.within: 'prompt' is not allowed with model.family={model.family}, which has no prompts; it must"
        " be set"
    ]
