"""The artifacts of a selection: the scores of the candidates, and those that were kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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


@dataclass(frozen=True)
class Candidates:
    """What is chosen among, and from what the family computes that which a scorer may need."""

    generation: int
    synthetic: Artifact
    """The synthetic set before the selection."""
    rows: float
    """Rows to keep, in units of n."""
    real: Artifact
    sources: Mapping[str, Mapping[str, Artifact]]
    """What a scorer may need -> the artifacts that it is computed from, by role."""
    seed: int
    scoring: Mapping[str, Any]
    """What decides the scores beside the scorer and its sources, such as the precision; for the recipe."""
    expected_bytes: int | None = None
    """Size on disk of what is kept."""


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


def _scores(scorer: Choice, candidates: Candidates, stage: SelectionStage, stage_context: Any) -> Artifact:
    needs = needs_of(scorer)
    stream = Stream(candidates.seed, candidates.generation, "selection.scores")
    recipe = {
        **stage.recipe(),
        "scorer": scorer.recipe(),
        "stream": stream.recipe() if STREAM in needs else None,
        **candidates.scoring,
    }
    parents = {CANDIDATES: candidates.synthetic}
    for need in needs:
        parents |= candidates.sources[need]
    build = stage.build(stage_context, scorer=scorer, stream=stream)
    return Artifact(
        "candidate_scores", recipe, parents, build, f"generation {candidates.generation} · scoring candidates"
    )


def _selected(
    selection: SelectionSettings,
    rule: Choice,
    candidates: Candidates,
    found: Mapping[str, Artifact],
    stage: SelectionStage,
    stage_context: Any,
) -> Artifact:
    stream = Stream(candidates.seed, candidates.generation, "selection.rule")
    choosing = Choosing(rule, stream, selection.within, selection.shortfall)
    recipe = {**stage.recipe(), "rows": candidates.rows, **choosing.recipe()}
    build = stage.build(stage_context, choosing=choosing, rows=candidates.rows)
    label = f"generation {candidates.generation} · selecting"
    return Artifact("selected", recipe, {**found, "real": candidates.real}, build, label, candidates.expected_bytes)
