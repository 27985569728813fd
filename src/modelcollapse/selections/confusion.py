"""The confusion table of a selection: right and wrong candidates, kept and not kept, where the right ones are known."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from modelcollapse.selections.choosing import SCORES_FILE
from modelcollapse.selections.kept import KEPT_FILE, read_kept
from modelcollapse.selections.recipes import CANDIDATE_SCORES, SELECTED_ROWS, SYNTHETIC
from modelcollapse.selections.settings import SCORES, SelectionSettings


def right_by_score(selection: SelectionSettings, scores: torch.Tensor | None) -> torch.Tensor | None:
    """Whether each candidate is right, bool of the shape of the scores: one of at least ``rule.at_least``.

    None where that is not known: where scores are no truth (the scorer's option ``is_truth``), or the rule has no such
    setting.
    """
    at_least = getattr(selection.rule and selection.rule.settings, "at_least", None)
    if scores is None or at_least is None or selection.scorer is None:
        return None
    return scores >= at_least if selection.scorer.member.options.get("is_truth") else None


def confusion(is_right: torch.Tensor, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Candidates that are right or wrong, kept or not kept, counts [...] float64.

    ``is_right`` is bool [..., candidates], ``rows`` [..., places] are the numbers of those that were kept; one that
    stands in several places counts once.
    """
    is_kept = torch.zeros_like(is_right).scatter(-1, rows, torch.ones_like(rows, dtype=torch.bool))
    parts = {
        "right_kept": is_right & is_kept,
        "right_not_kept": is_right & ~is_kept,
        "wrong_kept": ~is_right & is_kept,
        "wrong_not_kept": ~is_right & ~is_kept,
    }
    return {name: part.sum(-1).double() for name, part in parts.items()}


def confusion_metrics(selection: SelectionSettings, folders: Mapping[str, Path]) -> dict[str, float]:
    """Metrics ``selection/right_kept``, ... of a generation, its folders by role; none where nothing is known."""
    chosen = folders.get(SELECTED_ROWS, folders[SYNTHETIC])
    if CANDIDATE_SCORES not in folders or not (chosen / KEPT_FILE).is_file():
        return {}
    is_right = right_by_score(selection, load_file(folders[CANDIDATE_SCORES] / SCORES_FILE)[SCORES])
    if is_right is None:
        return {}
    return {f"selection/{name}": float(count) for name, count in confusion(is_right, read_kept(chosen).rows).items()}
