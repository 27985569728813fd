"""The artifacts of a selection: the scores of the candidates, and those that were kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.settings import STREAM, SelectionSettings, needs_of, needs_of_rule
from modelcollapse.store import Artifact, BuildContext

VERSIONS = {"candidate_scores": 1, "selected": 1}
"""Raised by hand when a stage comes to mean something else."""
CANDIDATES, CANDIDATE_SCORES, SYNTHETIC = "candidates", "candidate_scores", "synthetic"


@dataclass(frozen=True)
class Candidates:
    """What is chosen among, and from what the family computes that which a scorer may need."""

    generation: int
    written: Artifact
    """What the generation's model wrote."""
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


Stages = Callable[..., Callable[[BuildContext], None]]
"""``stages(function, **arguments)``: the family's stage of that name."""


def declare(selection: SelectionSettings, candidates: Candidates, stages: Stages) -> dict[str, Artifact]:
    """The artifacts of an active selection, by role; as ``synthetic`` those that are kept."""
    assert selection.rule is not None
    found = {CANDIDATES: candidates.written}
    if selection.scorer is not None:
        found[CANDIDATE_SCORES] = _scores(selection.scorer, candidates, stages)
    return {**found, SYNTHETIC: _selected(selection.rule, candidates, found, stages)}


def _scores(scorer: Choice, candidates: Candidates, stages: Stages) -> Artifact:
    needs = needs_of(scorer)
    stream = Stream(candidates.seed, candidates.generation, "selection.scores")
    recipe = {
        "version": VERSIONS["candidate_scores"],
        "scorer": scorer.recipe(),
        "stream": stream.recipe() if STREAM in needs else None,
        **candidates.scoring,
    }
    parents = {CANDIDATES: candidates.written}
    for need in needs:
        parents |= candidates.sources[need]
    make = stages("make_candidate_scores", scorer=scorer, stream=stream)
    return Artifact(
        "candidate_scores", recipe, parents, make, f"generation {candidates.generation} · scoring candidates"
    )


def _selected(rule: Choice, candidates: Candidates, found: Mapping[str, Artifact], stages: Stages) -> Artifact:
    stream = Stream(candidates.seed, candidates.generation, "selection.rule")
    recipe = {
        "version": VERSIONS["selected"],
        "rule": rule.recipe(),
        "rows": candidates.rows,
        "stream": stream.recipe() if STREAM in needs_of_rule(rule) else None,
    }
    make = stages("make_selected", rule=rule, rows=candidates.rows, stream=stream)
    label = f"generation {candidates.generation} · selecting"
    return Artifact("selected", recipe, {**found, "real": candidates.real}, make, label, candidates.expected_bytes)
