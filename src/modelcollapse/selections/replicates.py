"""Selection in many replicates at once: each scores its own candidates, and keeps as many of them as any other."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from modelcollapse.errors import UserError
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import Scored, checked, score
from modelcollapse.selections.settings import SCORES, SHORTFALL, STREAM, Shortfall, needs_of, needs_of_rule


class ScoredReplicates(NamedTuple):
    """The scores of R sets of candidates."""

    scores: torch.Tensor
    """[R, candidates] float64, higher is better."""
    measures: Mapping[str, torch.Tensor]
    """What the scorer measured of itself, each [R]."""


class KeptReplicates(NamedTuple):
    """The places of R selected sets."""

    rows: torch.Tensor
    """Numbers of candidates [R, places] int64; one may stand in several places."""
    weights: torch.Tensor | None
    """[R, places] float64 with mean 1; None where the rule weighs nothing."""

    def of(self, candidates: torch.Tensor) -> torch.Tensor:
        """The rows that were kept of the candidates [R, candidates, ...]."""
        places = self.rows.view(*self.rows.shape, *[1] * (candidates.ndim - 2))
        return candidates.gather(1, places.expand(-1, -1, *candidates.shape[2:]))


def score_replicates(
    scorer: Choice, candidates: torch.Tensor, available: Mapping[str, Callable[[], Any]]
) -> ScoredReplicates:
    """The scores of candidates [R, candidates, ...], each replicate by itself.

    ``available`` computes each thing that a scorer may need, of all replicates [R, ...]; a stream is given to each
    replicate by its number. A scorer registered with ``by_row``, for which a row's score depends on the row alone, is
    called once with the rows of all replicates. Raises UserError where a row has no finite number.
    """
    given = {need: available[need]() for need in needs_of(scorer)}
    replicates = len(candidates)
    if scorer.member.options.get("by_row"):
        flat = {
            need: value.flatten(0, 1) if isinstance(value, torch.Tensor) else value for need, value in given.items()
        }
        found = score(scorer, candidates.flatten(0, 1), _given(flat))
        measures = {name: torch.full((replicates,), value) for name, value in found.measures.items()}
        return ScoredReplicates(found.scores.view(replicates, -1), measures)
    each = [
        score(scorer, rows, _given({need: _of_replicate(value, number) for need, value in given.items()}))
        for number, rows in enumerate(candidates)
    ]
    return ScoredReplicates(torch.stack([one.scores for one in each]), _stacked(each))


def _given(values: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    return {need: partial(values.__getitem__, need) for need in values}


def _of_replicate(value: Any, number: int) -> Any:
    return replace(value, replicate=number) if isinstance(value, Stream) else value[number]


def _stacked(each: list[Scored]) -> dict[str, torch.Tensor]:
    names = each[0].measures
    return {name: torch.tensor([one.measures[name] for one in each], dtype=torch.float64) for name in names}


def choose_replicates(
    rule: Choice,
    size: tuple[int, int],
    wanted: int,
    scores: torch.Tensor | None,
    stream: Stream,
    shortfall: Shortfall,
) -> KeptReplicates:
    """What a rule keeps of [R, candidates], ``size``, by scores of that shape.

    A rule with a method ``of_replicates`` is called once, see :mod:`modelcollapse.selections.rules`, another for each
    replicate. Raises UserError where the rule gives back anything but ``wanted`` numbers of candidates.
    """
    replicates, candidates = size
    needs, chooses = needs_of_rule(rule), rule.build()
    offered = {SCORES: scores, STREAM: stream, SHORTFALL: shortfall}
    if hasattr(chooses, "of_replicates"):
        rows = torch.as_tensor(chooses.of_replicates(size, wanted, **{need: offered[need] for need in needs}))
        if rows.shape != (replicates, wanted) or not 0 <= int(rows.min()) <= int(rows.max()) < candidates:
            raise UserError(
                f"selection.rule: {rule.name!r} must return the numbers of {wanted} of {candidates} candidates for each"
                f" of {replicates} replicates; it returned {list(rows.shape)} numbers"
            )
        return KeptReplicates(rows.long(), None)
    kept = []
    for number in range(replicates):
        own = offered | {SCORES: None if scores is None else scores[number], STREAM: replace(stream, replicate=number)}
        returned = chooses(candidates, wanted, **{need: own[need] for need in needs})
        kept.append(checked(rule, returned, candidates, wanted))
    rows, weights = (torch.stack(list(parts)) for parts in zip(*kept, strict=True))
    return KeptReplicates(rows, None if bool((weights == 1).all()) else weights)


def summaries(kept: KeptReplicates, candidates: int, scores: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """As :func:`modelcollapse.selections.choosing.summary`, each [R]."""
    ordered = kept.rows.sort(1).values
    distinct = 1 + (ordered.diff(dim=1) > 0).sum(1)
    shares = {"kept_share": distinct.double() / candidates}
    if scores is None:
        return shares
    of_kept = scores.gather(1, kept.rows)
    return {
        **shares,
        "threshold": of_kept.amin(1),
        "mean_score_kept": of_kept.mean(1),
        "mean_score_candidates": scores.mean(1),
    }
