"""The artifacts of a selection: the scores of the candidates, and those that were kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from modelcollapse.regimes import Draw, Source, composition_recipe
from modelcollapse.registry import Choice, needs_of
from modelcollapse.seeding import Stream
from modelcollapse.selections.settings import (
    SHORTFALL,
    STREAM,
    SelectionSettings,
    Shortfall,
    Within,
    needs_of_rule,
)
from modelcollapse.store import Artifact, BuildContext

CANDIDATES, CANDIDATE_SCORES, SYNTHETIC = "candidates", "candidate_scores", "synthetic"
SELECTED_ROWS = "selected_rows"
"""Kind and role of the places of a training set that are trained on."""
ONLY_WITH = "selection.scope=training_set"
"""What chains have the stages of a selection from training sets, see ``Stage.only_with``."""


@dataclass(frozen=True, kw_only=True)
class ChosenFrom(ABC):
    """Rows that are chosen among, and from what the family computes that which a scorer may need."""

    generation: int
    real: Artifact
    sources: Mapping[str, Mapping[str, Artifact]]
    """What a scorer may need -> the artifacts that it is computed from, by role."""
    seed: int
    scoring: Mapping[str, Any]
    """What decides the scores beside the scorer and its sources, such as the precision; for the recipe."""

    purpose: ClassVar[str]
    """What streams are named after."""
    scored: ClassVar[str]
    """What scores are of, for people."""

    def stream(self, use: str) -> Stream:
        """What is random in the choice: of ``scores`` or of the ``rule``."""
        return Stream(self.seed, self.generation, f"{self.purpose}.{use}")

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What decides the rows beside their artifacts."""

    @abstractmethod
    def parents(self) -> dict[str, Artifact]:
        """The artifacts of the rows, by the roles that the stages know them under."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What the stages are given to find the rows by."""


@dataclass(frozen=True, kw_only=True)
class Candidates(ChosenFrom):
    """What a model wrote."""

    synthetic: Artifact
    """The synthetic set before the selection."""
    rows: float
    """Rows to keep, in units of n."""
    expected_bytes: int | None = None
    """Size on disk of what is kept."""

    purpose, scored = "selection", "candidates"

    def recipe(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def parents(self) -> dict[str, Artifact]:
        """The synthetic set."""
        return {CANDIDATES: self.synthetic}

    def arguments(self) -> dict[str, Any]:
        """Nothing more."""
        return {}


@dataclass(frozen=True, kw_only=True)
class TrainingSet(ChosenFrom):
    """The rows of a training set; the writer is the model of the generation before."""

    draws: Sequence[Draw]
    sets: Mapping[Source, Artifact]
    """What the draws take rows of, and what was kept of earlier training sets that they use again."""

    purpose, scored = "selection.training_set", "the training set"

    def recipe(self) -> dict[str, Any]:
        """What the set is composed of."""
        return {"composition": composition_recipe(self.draws, lambda source: self.sets[source].key)}

    def parents(self) -> dict[str, Artifact]:
        """The sets, by the roles that a fit knows them under, and the real data."""
        return {"real": self.real, **{source.role: artifact for source, artifact in self.sets.items()}}

    def arguments(self) -> dict[str, Any]:
        """What the set is composed of."""
        return {"draws": self.draws}


@dataclass(frozen=True)
class Choosing:
    """How candidates are chosen."""

    rule: Choice
    stream: Stream
    within: Within
    shortfall: Shortfall

    def recipe(self) -> dict[str, Any]:
        """What decides the choice; the last two only where they are not the usual ones."""
        needs = needs_of_rule(self.rule)
        return {
            "rule": self.rule.recipe(),
            "stream": self.stream.recipe() if STREAM in needs else None,
            **({"within": self.within} if self.within != "set" else {}),
            **({"shortfall": self.shortfall} if SHORTFALL in needs and self.shortfall != "stop" else {}),
        }


class SelectionStage(Protocol):
    """A family's stage that scores candidates, or that keeps some of them."""

    def recipe(self) -> dict[str, Any]:
        """Its name and what its code is."""
        ...

    def build(self, stage_context: Any, **arguments: Any) -> Callable[[BuildContext], None]:
        """What an artifact is made by."""
        ...


def declare(
    selection: SelectionSettings,
    candidates: Candidates,
    scoring: SelectionStage,
    selecting: SelectionStage,
    stage_context: Any,
) -> dict[str, Artifact]:
    """The artifacts of an active selection, by role; as ``synthetic`` those that are kept.

    ``scoring`` and ``selecting`` are the family's stages, ``stage_context`` what they are given.
    """
    assert selection.rule is not None
    found = {CANDIDATES: candidates.synthetic}
    if selection.scorer is not None:
        found[CANDIDATE_SCORES] = _scores(selection.scorer, candidates, scoring, stage_context)
    return {**found, SYNTHETIC: _selected(selection, selection.rule, candidates, found, selecting, stage_context)}


def _scores(scorer: Choice, rows: ChosenFrom, stage: SelectionStage, stage_context: Any) -> Artifact:
    needs, stream = needs_of(scorer), rows.stream("scores")
    recipe = {
        **stage.recipe(),
        "scorer": scorer.recipe(),
        "stream": stream.recipe() if STREAM in needs else None,
        **rows.scoring,
        **rows.recipe(),
    }
    parents = rows.parents()
    for need in needs:
        parents |= rows.sources[need]
    build = stage.build(stage_context, scorer=scorer, stream=stream, **rows.arguments())
    label = f"generation {rows.generation} · scoring {rows.scored}"
    return Artifact(CANDIDATE_SCORES, recipe, parents, build, label)


def _selected(
    selection: SelectionSettings,
    rule: Choice,
    candidates: Candidates,
    found: Mapping[str, Artifact],
    stage: SelectionStage,
    stage_context: Any,
) -> Artifact:
    choosing = Choosing(rule, candidates.stream("rule"), selection.within, selection.shortfall)
    recipe = {**stage.recipe(), "rows": candidates.rows, **choosing.recipe()}
    build = stage.build(stage_context, choosing=choosing, rows=candidates.rows)
    label = f"generation {candidates.generation} · selecting"
    return Artifact("selected", recipe, {**found, "real": candidates.real}, build, label, candidates.expected_bytes)


def declare_of_training_set(
    selection: SelectionSettings,
    training_set: TrainingSet,
    scoring: SelectionStage,
    selecting: SelectionStage,
    stage_context: Any,
) -> dict[str, Artifact]:
    """The artifacts of an active selection of a training set, by role: ``selected_rows``, and scores if there are any.

    ``scoring`` and ``selecting`` are the family's stages, ``stage_context`` what they are given.
    """
    assert selection.rule is not None
    found = {}
    if selection.scorer is not None:
        found[CANDIDATE_SCORES] = _scores(selection.scorer, training_set, scoring, stage_context)
    choosing = Choosing(selection.rule, training_set.stream("rule"), selection.within, selection.shortfall)
    recipe = {**selecting.recipe(), "size": selection.size, **choosing.recipe(), **training_set.recipe()}
    build = selecting.build(stage_context, choosing=choosing, size=selection.size, **training_set.arguments())
    label = f"generation {training_set.generation} · selecting from the training set"
    rows = Artifact(SELECTED_ROWS, recipe, {**found, **training_set.parents()}, build, label)
    return {**found, SELECTED_ROWS: rows}
