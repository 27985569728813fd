"""What families share of the stages that select from training sets: scoring composed rows, and keeping places."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modelcollapse.regimes import Rows, rows_of
from modelcollapse.registry import Choice
from modelcollapse.selections.choosing import choose, score, write_scores
from modelcollapse.selections.recipes import Choosing
from modelcollapse.store import BuildContext


def write_composed_scores(
    context: BuildContext,
    scorer: Choice,
    rows: torch.Tensor,
    parts: Callable[[], Sequence[Rows]],
    available: Mapping[str, Callable[[], Any]],
) -> None:
    """Publish the scores of the rows of a training set, [rows, ...] as the family stores them.

    ``parts`` resolves the composition that they are of; ``available`` is what a scorer may need beside.
    """
    told = {"is_synthetic": lambda: is_synthetic(parts())}
    write_scores(context, score(scorer, rows, {**available, **told}))


def choose_composed(context: BuildContext, choosing: Choosing, size: float, parts: Sequence[Rows]) -> None:
    """Publish the places of a resolved training set that are kept, ``size`` times as many as it has."""
    rows = sum(len(part.indices) for part in parts)
    choose(context, choosing, rows, rows_of(size, rows), prompts=None)


def is_synthetic(parts: Sequence[Rows]) -> torch.Tensor:
    """Whether each row of a resolved composition is synthetic, bool [rows]."""
    kinds = [np.full(len(part.indices), part.source.kind == "synthetic") for part in parts]
    return torch.from_numpy(np.concatenate(kinds))
