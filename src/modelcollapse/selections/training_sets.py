"""What families share of selections from training sets: which of their rows are trained on, and used again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from modelcollapse.regimes import Draw, Source
from modelcollapse.selections.kept import read_kept
from modelcollapse.selections.recipes import SELECTED_ROWS


def kept_places(draws: Sequence[Draw], folders: Mapping[str, Path]) -> dict[Source, NDArray[np.int64]]:
    """The places that were kept of each earlier training set that is composed again, for :func:`regimes.resolve`."""
    sets = {source for draw in draws for source in draw.training_sets if source.role in folders}
    return {source: read_kept(folders[source.role]).rows.numpy() for source in sets}


def selected(
    rows: torch.Tensor, weights: torch.Tensor, folders: Mapping[str, Path]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a fit trains on of a composed training set: rows [places, ...] and weights [places], mean 1.

    The weight of a place multiplies that of the row there. Without a selection among the parents of the fit, given as
    ``folders`` by role, these are ``rows`` [rows, ...] and ``weights`` [rows] themselves.
    """
    if SELECTED_ROWS not in folders:
        return rows, weights
    kept = read_kept(folders[SELECTED_ROWS])
    weighed = weights[kept.rows].double() * kept.weights
    return rows[kept.rows], (weighed / weighed.mean()).float()
