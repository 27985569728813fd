"""The training set of a generation of a language model: blocks of its sources, and their weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from modelcollapse.data.blocks import read_blocks
from modelcollapse.regimes import Draw, Rows, Source, resolve
from modelcollapse.selections.kept import place_weights
from modelcollapse.selections.training_sets import kept_places

Folders = Mapping[str, Path]


def composed_blocks(draws: Sequence[Draw], folders: Folders, real_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The training set of a composition: blocks [rows, length] and weights [rows] with mean 1."""
    sets = _sets(draws, folders)
    parts = _resolved(draws, sets, folders, real_rows)
    blocks = torch.cat([sets[part.source][torch.from_numpy(part.indices)] for part in parts])
    weights = torch.cat([torch.from_numpy(part.weights).float() for part in parts])
    return blocks, weights


def resolved(draws: Sequence[Draw], folders: Folders, real_rows: int) -> list[Rows]:
    """The rows of the sources, in the order of the training set."""
    return _resolved(draws, _sets(draws, folders), folders, real_rows)


def _resolved(
    draws: Sequence[Draw], sets: Mapping[Source, torch.Tensor], folders: Folders, real_rows: int
) -> list[Rows]:
    weighed = {source: place_weights(folders[source.role]) for source in sets}
    sizes = {source: len(blocks) for source, blocks in sets.items()}
    return resolve(draws, sizes, real_rows, weighed, kept_places(draws, folders))


def _sets(draws: Sequence[Draw], folders: Folders) -> dict[Source, torch.Tensor]:
    return {source: _source_blocks(source, folders) for draw in draws for source in draw.sets}


def _source_blocks(source: Source, folders: Folders) -> torch.Tensor:
    return read_blocks(folders[source.role], "blocks" if source.kind == "synthetic" else "train")
