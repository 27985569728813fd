"""Rows that change hands in a population: real rows that are shared out, and rows drawn from what all members wrote.

A set of rows is a file of named arrays, safetensors, as modelcollapse.data writes them.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from modelcollapse.errors import UserError
from modelcollapse.populations.members import shares_of
from modelcollapse.populations.settings import PopulationSettings, too_many_members
from modelcollapse.regimes.rows import random_keys
from modelcollapse.seeding import Stream
from modelcollapse.selections.kept import KEPT_FILE, Kept, place_weights

SHARED_OUT = ("train", "reserve")
"""Splits whose rows are shared out; validation and test rows are the same for all members."""


def part_rows(rows: int, member: int, shares: Sequence[Fraction], stream: Stream) -> NDArray[np.int64]:
    """The numbers, ascending, of a member's rows out of so many.

    The rows are shuffled by the stream, the same for all members, and the members take their shares one after the
    other, each rounded down.
    """
    shuffled = np.argsort(random_keys(rows, stream), kind="stable")
    ends = np.cumsum([0, *(math.floor(rows * share) for share in shares)])
    return np.sort(shuffled[ends[member] : ends[member + 1]])


def write_part(
    whole: Path, target: Path, *, file: str, member: int, population: PopulationSettings, stream: Stream
) -> None:
    """Write a member's part of the real data: its rows of the training split and of the reserve, and all else whole.

    Raises UserError where none of the rows of the training split are the member's.
    """
    arrays = _arrays(whole / file)
    chosen = {
        split: part_rows(count, member, shares_of(population), stream.within(split))
        for split, count in _split_rows(arrays).items()
    }
    if not len(chosen["train"]):
        rows = _split_rows(arrays)["train"]
        raise UserError(too_many_members(population.models, rows, population.unequal_sizes))
    for name, array in arrays.items():
        if (split := _split_of(name)) in chosen:
            arrays[name] = array[torch.from_numpy(chosen[split])]
    save_file({name: array.contiguous() for name, array in arrays.items()}, target / file)


def _split_of(array: str) -> str:
    """The split that an array is of: `train` of `train`, `train_images` and `train_labels`."""
    return array.partition("_")[0]


def _split_rows(arrays: dict[str, torch.Tensor]) -> dict[str, int]:
    return {_split_of(name): len(array) for name, array in arrays.items() if _split_of(name) in SHARED_OUT}


def write_union_sample(
    sets: Sequence[Path], target: Path, *, file: str, stream: Stream, like: int | None = None
) -> None:
    """Write as many rows as one set has, drawn without replacement from all sets together; as the set ``like`` has,
    where they are not of one size.

    Every choice is equally likely. Where a selection weighed rows of a set, they weigh as much in the sample beside
    each other.
    """
    arrays = [_arrays(folder / file) for folder in sets]
    counts = [len(next(iter(each.values()))) for each in arrays]
    total, wanted = sum(counts), sum(counts) // len(sets) if like is None else counts[like]
    chosen = np.sort(np.argpartition(random_keys(total, stream), wanted - 1)[:wanted])
    rows = torch.from_numpy(chosen)
    joined = {name: torch.cat([each[name] for each in arrays])[rows].contiguous() for name in arrays[0]}
    save_file(joined, target / file)
    weights = [place_weights(folder) for folder in sets]
    if any(each is not None for each in weights):
        pairs = zip(weights, counts, strict=True)
        of_rows = np.concatenate([np.ones(count) if each is None else each for each, count in pairs])[chosen]
        kept = Kept(rows, torch.from_numpy(of_rows / of_rows.mean()))
        save_file({name: tensor.contiguous() for name, tensor in kept._asdict().items()}, target / KEPT_FILE)


def _arrays(path: Path) -> dict[str, torch.Tensor]:
    """The named arrays of a file, memory-mapped."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
