"""Settings of a selection, and what is wrong between them and what a family can offer."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from modelcollapse.regimes.shares import exact
from modelcollapse.registry import Choice, Registered, needs_of, registry
from modelcollapse.settings import IntroducedAs, Range

SCORES, STREAM, SHORTFALL = "scores", "stream", "shortfall"
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
    }
)
"""What a scorer can ask for with ``needs``, each given as an argument of that name; a family offers some of them."""


@dataclass(frozen=True)
class SelectionSettings:
    """Which of the rows that a model generates are kept for the generations after it."""

    rule: Annotated[Choice, Registered("rules")] | None
    """Rule that chooses among the candidates, with its settings; null keeps all that is generated."""
    scorer: Annotated[Choice, Registered("scorers")] | None
    """What gives each candidate the number that the rule looks at, with its settings; null where it looks at none."""
    oversampling: Annotated[float, Range(low=1, high=1000)]
    """Candidates generated for every row that the regime asks for."""
    scope: Literal["synthetic"]
    """What is selected from: what each model generates, once, before anything is trained on it or continues it."""
    within: Annotated[Within, IntroducedAs("set")] = "set"
    """Whether a rule chooses among all candidates, or for each prompt among those that continue it."""
    shortfall: Annotated[Shortfall, IntroducedAs("stop")] = "stop"
    """What happens where fewer candidates pass a rule than rows are wanted: the run stops, or rows are repeated."""

    @property
    def is_active(self) -> bool:
        """Whether anything is chosen: a rule that needs no scores keeps all where no more is generated than asked for.

        So a chain with ``random`` and no oversampling is the chain without a selection.
        """
        return self.rule is not None and (SCORES in needs_of_rule(self.rule) or self.oversampling > 1)

    def candidates(self, rows: float) -> float:
        """Rows that a model generates where ``rows`` are asked for, both in units of n."""
        return float(exact(rows) * exact(self.oversampling)) if self.is_active else rows

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
        return []

    def _problems_without_rule(self) -> list[str]:
        problems = []
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
