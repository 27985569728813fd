"""Selection, as all families share it: score candidates, keep some, and summarise what was kept."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from modelcollapse.errors import UserError
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.kept import KEPT_FILE, Kept
from modelcollapse.selections.recipes import CANDIDATE_SCORES
from modelcollapse.selections.settings import SCORES, STREAM, needs_of, needs_of_rule
from modelcollapse.store import BuildContext

SCORES_FILE = "scores.safetensors"
SUMMARY_FILE = "selection.json"


def score(scorer: Choice, candidates: torch.Tensor, available: Mapping[str, Callable[[], Any]]) -> torch.Tensor:
    """The scores float64 [rows] of candidates [rows, ...].

    ``available`` computes each thing that a scorer may need; only what this one asks for is computed.
    Raises UserError where the scorer does not return a finite number for each row.
    """
    given = {need: available[need]() for need in needs_of(scorer)}
    scores = torch.as_tensor(scorer.build()(candidates, **given))
    if scores.shape != (len(candidates),):
        raise UserError(
            f"selection.scorer: {scorer.name!r} must return a number for each of {len(candidates)} candidates; it"
            f" returned {list(scores.shape)} numbers"
        )
    scores = scores.detach().cpu().double()
    if broken := (~scores.isfinite()).nonzero().flatten().tolist():
        raise UserError(
            f"selection.scorer: {scorer.name!r} gave {len(broken)} of {len(candidates)} candidates no finite number,"
            f" row {broken[0]} the first of them ({float(scores[broken[0]])}); by such scores nothing can be chosen"
        )
    return scores


def write_scores(context: BuildContext, scores: torch.Tensor) -> None:
    """Publish the scores of the candidates."""
    save_file({SCORES: scores.contiguous()}, context.folder / SCORES_FILE)


def choose(context: BuildContext, rule: Choice, candidates: int, wanted: int, stream: Stream) -> Kept:
    """The ``wanted`` places that the rule fills from that many candidates, published with a summary.

    Raises UserError where the rule gives back anything but that many numbers of candidates.
    """
    scores = None
    if CANDIDATE_SCORES in context.parents:
        scores = load_file(context.parents[CANDIDATE_SCORES] / SCORES_FILE)[SCORES]
    offered = {SCORES: scores, STREAM: stream}
    given = {need: offered[need] for need in needs_of_rule(rule)}
    kept = _checked(rule, rule.build()(candidates, wanted, **given), candidates, wanted)
    save_file({name: tensor.contiguous() for name, tensor in kept._asdict().items()}, context.folder / KEPT_FILE)
    (context.folder / SUMMARY_FILE).write_text(
        json.dumps(summary(kept, candidates, scores), indent=1, sort_keys=True), encoding="utf-8"
    )
    return kept


def _checked(rule: Choice, returned: Any, candidates: int, wanted: int) -> Kept:
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


def selection_metrics(synthetic: Path) -> dict[str, float]:
    """Metrics ``selection/...`` of a synthetic set; none where it was not selected."""
    path = synthetic / SUMMARY_FILE
    if not path.is_file():
        return {}
    return {f"selection/{name}": value for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
