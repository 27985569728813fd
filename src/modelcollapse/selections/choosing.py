"""Selection, as all families share it: score candidates, keep some, and summarise what was kept."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from modelcollapse.errors import UserError
from modelcollapse.registry import Choice, needs_of
from modelcollapse.seeding import Stream
from modelcollapse.selections.kept import KEPT_FILE, Kept
from modelcollapse.selections.recipes import CANDIDATE_SCORES, SELECTED_ROWS, SYNTHETIC, Choosing
from modelcollapse.selections.settings import SCORES, SHORTFALL, STREAM, needs_of_rule
from modelcollapse.store import BuildContext

SCORES_FILE = "scores.safetensors"
SUMMARY_FILE = "selection.json"


class Scored(NamedTuple):
    """What a scorer may return instead of scores: these, and what is to be recorded of how they were found."""

    scores: torch.Tensor
    measures: Mapping[str, float]


def score(scorer: Choice, candidates: torch.Tensor, available: Mapping[str, Callable[[], Any]]) -> Scored:
    """The scores float64 [rows] of candidates [rows, ...].

    ``available`` computes each thing that a scorer may need; only what this one asks for is computed. What it ``uses``
    it is given where it is available.
    Raises UserError where the scorer does not return a finite number for each row.
    """
    used = [name for name in scorer.member.options.get("uses", ()) if name in available]
    given = {need: available[need]() for need in (*needs_of(scorer), *used)}
    returned = scorer.build()(candidates, **given)
    found = returned if isinstance(returned, Scored) else Scored(torch.as_tensor(returned), {})
    if found.scores.shape != (len(candidates),):
        raise UserError(
            f"selection.scorer: {scorer.name!r} must return a number for each of {len(candidates)} candidates; it"
            f" returned {list(found.scores.shape)} numbers"
        )
    scores = found.scores.detach().cpu().double()
    if broken := (~scores.isfinite()).nonzero().flatten().tolist():
        raise UserError(
            f"selection.scorer: {scorer.name!r} gave {len(broken)} of {len(candidates)} candidates no finite number,"
            f" row {broken[0]} the first of them ({float(scores[broken[0]])}); by such scores nothing can be chosen"
        )
    return Scored(scores, found.measures)


def write_scores(context: BuildContext, scored: Scored) -> None:
    """Publish the scores of the candidates, and what was measured of the scorer."""
    save_file({SCORES: scored.scores.contiguous()}, context.folder / SCORES_FILE)
    if scored.measures:
        (context.folder / SUMMARY_FILE).write_text(_json(scored.measures), encoding="utf-8")


def choose(context: BuildContext, choosing: Choosing, candidates: int, wanted: int, prompts: int | None) -> Kept:
    """The ``wanted`` places that the rule fills from that many candidates, published with a summary.

    Row i, i + ``prompts``, ... continue prompt i; None where there are no prompts. Raises UserError where the rule
    gives back anything but that many numbers of candidates.
    """
    scores, measures = None, {}
    if CANDIDATE_SCORES in context.parents:
        folder = context.parents[CANDIDATE_SCORES]
        scores = load_file(folder / SCORES_FILE)[SCORES]
        if (folder / SUMMARY_FILE).is_file():
            measures = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    if choosing.within == "set" or prompts is None:
        kept = _chosen(choosing, torch.arange(candidates), wanted, scores, choosing.stream)
    else:
        kept = _chosen_by_prompt(choosing, candidates, wanted, scores, prompts)
    save_file({name: tensor.contiguous() for name, tensor in kept._asdict().items()}, context.folder / KEPT_FILE)
    (context.folder / SUMMARY_FILE).write_text(
        _json({**summary(kept, candidates, scores), **measures}), encoding="utf-8"
    )
    return kept


def _chosen(choosing: Choosing, places: torch.Tensor, wanted: int, scores: torch.Tensor | None, stream: Stream) -> Kept:
    """What the rule keeps of the candidates at some places."""
    offered = {
        SCORES: None if scores is None else scores[places],
        STREAM: stream,
        SHORTFALL: choosing.shortfall,
    }
    given = {need: offered[need] for need in needs_of_rule(choosing.rule)}
    returned = choosing.rule.build()(len(places), wanted, **given)
    kept = checked(choosing.rule, returned, len(places), wanted)
    return Kept(places[kept.rows], kept.weights)


def _chosen_by_prompt(
    choosing: Choosing, candidates: int, wanted: int, scores: torch.Tensor | None, prompts: int
) -> Kept:
    """What the rule keeps of each prompt's candidates, in the order in which they would have been generated."""
    of_prompts = [
        _chosen(
            choosing,
            torch.arange(prompt, candidates, prompts),
            len(range(prompt, wanted, prompts)),
            scores,
            choosing.stream.at(prompt),
        )
        for prompt in range(min(prompts, wanted))
    ]
    rows, weights = torch.empty(wanted, dtype=torch.int64), torch.empty(wanted, dtype=torch.float64)
    for prompt, kept in enumerate(of_prompts):
        rows[prompt::prompts], weights[prompt::prompts] = kept.rows, kept.weights
    return Kept(rows, weights / weights.mean())


def checked(rule: Choice, returned: Any, candidates: int, wanted: int) -> Kept:
    """What a rule returned, once it is what was asked for; raises UserError where it is not."""
    rows, weights = returned if isinstance(returned, tuple) else (returned, torch.ones(wanted))
    rows, weights = torch.as_tensor(rows).cpu(), torch.as_tensor(weights).cpu().double()
    name = f"selection.rule: {rule.name!r}"
    if rows.is_floating_point() or rows.shape != (wanted,):
        raise UserError(
            f"{name} must return the numbers of {wanted} candidates; it returned {list(rows.shape)} numbers"
        )
    if wanted and not 0 <= int(rows.min()) <= int(rows.max()) < candidates:
        raise UserError(f"{name} returned candidates that there are not; they count from 0 to {candidates - 1}")
    if weights.shape != rows.shape or not bool((weights.isfinite() & (weights > 0)).all()):
        raise UserError(f"{name} must return a weight above 0 for each row that it keeps")
    return Kept(rows.long(), weights / weights.mean())


def summary(kept: Kept, candidates: int, scores: torch.Tensor | None) -> dict[str, float]:
    """Share of the candidates that were kept, and by scores the lowest one kept, and both mean scores."""
    shares = {"kept_share": len(kept.rows.unique()) / candidates}
    if scores is None:
        return shares
    of_kept = scores[kept.rows]
    return {
        **shares,
        "threshold": float(of_kept.min()),
        "mean_score_kept": float(of_kept.mean()),
        "mean_score_candidates": float(scores.mean()),
    }


def _json(values: Mapping[str, float]) -> str:
    return json.dumps(values, indent=1, sort_keys=True)


def selection_metrics(folders: Mapping[str, Path]) -> dict[str, float]:
    """Metrics ``selection/...`` of a generation, its folders by role: of its training set or of its synthetic set.

    None where neither was selected.
    """
    # A synthetic set has a summary where rows were chosen of it.
    chosen = folders.get(SELECTED_ROWS, folders[SYNTHETIC]) / SUMMARY_FILE
    if not chosen.is_file():
        return {}
    return {f"selection/{name}": value for name, value in json.loads(chosen.read_text(encoding="utf-8")).items()}
