"""The inputs that artifacts of a language-model chain offer to metrics, by name."""

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.data import data_of
from modelcollapse.data.settings import LanguageModelData
from modelcollapse.metrics.base import Input, Subject
from modelcollapse.selections.recipes import CANDIDATES, SYNTHETIC
from modelcollapse.settings import identity_of

if TYPE_CHECKING:
    import numpy as np
    import torch

    from modelcollapse.data.language import Language

REAL_SPLITS = ("validation", "test")


def metric_subjects(data: LanguageModelData, has_start: bool, selects: bool) -> list[Subject]:
    """The subjects of a generation's metrics.

    ``has_start``: the weights that generation 0 starts from are scored too; ``selects``: a selection has kept a part of
    what was generated.

    ======================  ==================================================================================
    of a synthetic set
    ``tokens``              its blocks, int32 [sequences, new tokens]
    ``generated_amount``    tokens that were generated for it, those included that a selection did not keep
    ``training_tokens``     the blocks of the real training split, int32 [blocks, length]
    ``reference_losses``    mean loss per token of each sequence under generation 0's model, [sequences]
    ``real_reference_losses``  the same of the real validation split
    ``reference_token_losses``  float32 [sequences, new tokens - 1]
    ``true_losses``, ``real_true_losses``  under the true distribution, where it is known
    ``language``            the built-in language
    of a real split
    ``tokens``              its blocks, int32 [blocks, length]
    ``token_bytes``         UTF-8 bytes of the text behind each token of its blocks, [blocks, length]
    ``mean_loss``           over all predicted tokens, a float; ``mean_loss_without_line_starts``
    ``sequence_losses``     mean loss per token of each block, [blocks]
    ``token_losses``        float32 [blocks, length - 1]
    of a model
    ``test_loss``           ``mean_loss`` of the test split; ``true_test_loss`` under the true distribution
    ======================  ==================================================================================
    """
    return [
        *_scored("scores", "", data),
        *(_scored("zero_shot", "zero_shot/", data) if has_start else ()),
        Subject("synthetic", "synthetic/", _synthetic_inputs(data, CANDIDATES if selects else SYNTHETIC)),
    ]


def _scored(role: str, prefix: str, data: LanguageModelData) -> list[Subject]:
    of_model = {"test_loss": _loss(role, "test.mean")}
    if data.has_known_truth:
        of_model["true_test_loss"] = _loss(role, "true.test_mean")
    splits = [Subject("real", f"{prefix}{split}/", _split_inputs(role, split, data)) for split in REAL_SPLITS]
    return [*splits, Subject("model", prefix, of_model)]


def _split_inputs(role: str, split: str, data: LanguageModelData) -> dict[str, Input]:
    inputs = {
        "tokens": _blocks("real", split),
        "token_bytes": _token_bytes(split, data),
        "mean_loss": _loss(role, f"{split}.mean"),
        "sequence_losses": _losses(role, f"{split}.sequences"),
        "token_losses": _losses(role, f"{split}.tokens"),
    }
    if not data.has_known_truth and data.line_start_token:
        inputs["mean_loss_without_line_starts"] = _loss(role, f"{split}.mean_without_line_starts")
    return inputs


def _synthetic_inputs(data: LanguageModelData, generated: str) -> dict[str, Input]:
    inputs = {
        "generated_amount": Input(lambda folders: _token_count(folders[generated]), (generated,)),
        "tokens": _blocks("synthetic", "blocks"),
        "training_tokens": _blocks("real", "train"),
        "reference_losses": _losses("measures", "reference.sequences"),
        "real_reference_losses": _losses("measures", "real_reference.sequences"),
        "reference_token_losses": _losses("measures", "reference.tokens"),
    }
    if data.has_known_truth:
        inputs["true_losses"] = _losses("measures", "true.sequences")
        inputs["real_true_losses"] = _losses("measures", "real_true.sequences")
        inputs["language"] = Input(lambda folders: _language(data), recipe=identity_of(data))
    return inputs


def _token_count(folder: Path) -> int:
    from modelcollapse.data.blocks import read_blocks

    return int(read_blocks(folder, "blocks").numel())


def _blocks(role: str, name: str) -> Input:
    def load(folders: Mapping[str, Path]) -> "torch.Tensor":
        from modelcollapse.data.blocks import read_blocks

        return read_blocks(folders[role], name)

    return Input(load, (role,))


def _token_bytes(split: str, data: LanguageModelData) -> Input:
    def load(folders: Mapping[str, Path]) -> "torch.Tensor":
        from modelcollapse.data.blocks import block_count, read_blocks

        real = folders["real"]
        if block_count(real, f"{split}_bytes"):
            return read_blocks(real, f"{split}_bytes")
        if not data.has_own_vocabulary:
            _verify_fixed_bytes(folders["tokenizer"], real)
        return read_blocks(real, "bytes_per_token")[read_blocks(real, split).long()]

    return Input(load, ("real",) if data.has_own_vocabulary else ("real", "tokenizer"))


@lru_cache(maxsize=4)
def _verify_fixed_bytes(tokenizer: Path, real: Path) -> None:
    """Raise UserError where bytes were once counted a token, and a token does not always have the same."""
    from modelcollapse.data.tokenizers import described_fixed_bytes
    from modelcollapse.errors import UserError

    if not described_fixed_bytes(json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))):
        raise UserError(
            f"{real}: an earlier version wrote these blocks without the bytes that this tokenizer's tokens stand for;"
            " delete that folder, and it is made again"
        )


def _loss(role: str, name: str) -> Input:
    return _read(role, lambda losses: float(losses[name]))


def _losses(role: str, name: str) -> Input:
    return _read(role, lambda losses: _array(losses, name))


def _read(role: str, chosen: Callable[[Mapping[str, "np.ndarray"]], Any]) -> Input:
    return Input(lambda folders: chosen(_stored(folders[role])), (role,))


def _array(losses: Mapping[str, "np.ndarray"], name: str) -> "np.ndarray":
    from modelcollapse.errors import UserError

    if name not in losses:
        raise UserError(f"{name}: losses of single tokens are not stored of a set as large as this one")
    return losses[name]


@lru_cache(maxsize=4)
def _stored(folder: Path) -> "dict[str, np.ndarray]":
    from modelcollapse.families.language_model.recipes import read_losses

    return read_losses(folder)


@cache
def _language(data: LanguageModelData) -> "Language":
    language: Language = data_of(data).truth()
    return language
