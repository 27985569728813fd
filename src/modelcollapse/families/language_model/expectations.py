"""What a plan says of language models before anything is built: bytes on disk, and operations.

All follows from the shape of the network and the number of blocks. Where the text is not counted yet, its bytes are
taken; where nothing is known, nothing is said. No number is exact, and none enters a key.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from modelcollapse.data.settings import HubDataSettings, KnownLanguageSettings, LanguageModelData, TextFilesDataSettings
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.language_model.settings import BaseSettings, LanguageModelSettings, TrainingSettings
from modelcollapse.families.language_model.shapes import Shape, known_shape
from modelcollapse.regimes import Draw

BYTES_PER_TOKEN = 4.5
"""Of English text, with a vocabulary of some tens of thousands of byte pairs."""
UNPACKED = 3
"""Bytes of text for each byte of a gzipped file."""
PUBLISHED_TEXTS = {
    ("Salesforce/wikitext", "wikitext-2-raw-v1"): {"train": 10.9e6, "validation": 1.15e6, "test": 1.29e6},
}
"""Bytes of the splits of data sets that options of the configuration name."""
RAW_FILES = {"train": "wiki.train.raw", "validation": "wiki.valid.raw", "test": "wiki.test.raw"}
FORWARD, FIT = 2, 6
"""Operations for each token and parameter: of a forward pass, and of a step with its backward pass."""
KEPT_TOKEN_LOSSES = 2**20
"""Of more tokens than these, their single losses are not stored."""
CHECKPOINT_WEIGHTS = {True: 8, False: 6}
"""Sizes of the network that are on disk while a checkpoint is replaced: weights and two moments twice, and where the
best epoch is kept, its weights twice."""

Expected = dict[str, Any]
"""Arguments of ``Declare``: ``expected_bytes``, ``operations``, ``progress_bytes``."""


class Expectations:
    """Expected sizes and operations of the artifacts of one chain.

    Args:
        model: settings of the model.
        data: settings of the data.
        decoding: settings of the decoding.
        share: of the real training split that the chain has, a member of a population.
    """

    def __init__(
        self, model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, share: float = 1.0
    ) -> None:
        self._model, self._data, self._decoding, self._share = model, data, decoding, share

    @cached_property
    def _shape(self) -> Shape | None:
        return known_shape(self._model)

    @cached_property
    def _rows(self) -> float | None:
        """Blocks of the training split that the chain has."""
        rows = _blocks(self._data, "train")
        return None if rows is None else rows * (1 - self._data.reserve) * self._share

    @cached_property
    def _evaluated(self) -> dict[str, float] | None:
        """Blocks of the validation and test splits."""
        found = {split: _blocks(self._data, split) for split in ("validation", "test")}
        known = {split: blocks for split, blocks in found.items() if blocks is not None}
        return known if len(known) == len(found) else None

    def _operations(self, a_token: float, blocks: float | None) -> float | None:
        if self._shape is None or blocks is None:
            return None
        return a_token * self._shape.parameters * blocks * self._data.block_length

    def real(self) -> Expected:
        """The real splits as tokens."""
        if self._rows is None or self._evaluated is None:
            return {}
        blocks = _blocks(self._data, "train") or 0
        return {"expected_bytes": int(4 * (blocks + sum(self._evaluated.values())) * self._data.block_length)}

    def weights(self) -> Expected:
        """Weights that are taken in."""
        return {"expected_bytes": self._shape.bytes if self._shape else None}

    def base_text(self, base: BaseSettings) -> Expected:
        """The text of a base as tokens."""
        blocks = self._base_blocks(base)
        return {} if blocks is None else {"expected_bytes": int(4 * blocks * self._data.block_length)}

    def base(self, base: BaseSettings) -> Expected:
        """The base, pretrained."""
        passes = base.training.epochs * (1 - base.validation_share)
        return self._fitted(base.training, passes, self._base_blocks(base), None)

    def _base_blocks(self, base: BaseSettings) -> float | None:
        size = _file_bytes(base.text)
        blocks = None if size is None else size / BYTES_PER_TOKEN / self._data.block_length
        return min(filter(None, (blocks, base.maximum_blocks)), default=None)

    def fit(self, generation: int, draws: Sequence[Draw], size: float) -> Expected:
        """A generation, fitted to its composition, or to ``size`` times its rows where they are selected."""
        training = self._model.training
        share = 1.0 if training.epoch_size == "real" else size * sum(_share(draw) for draw in draws)
        epochs = training.epochs_of(generation)
        validated = None if self._evaluated is None else epochs * self._evaluated["validation"]
        return self._fitted(training, share * epochs, self._rows, validated)

    def _fitted(
        self, training: TrainingSettings, passes: float, rows: float | None, validated: float | None
    ) -> Expected:
        operations = self._operations(FIT * passes, rows)
        checks = self._operations(FORWARD, validated)
        size = self._shape.bytes if self._shape else None
        return {
            "expected_bytes": size,
            "operations": None if operations is None else operations + (checks or 0),
            "progress_bytes": size and size * CHECKPOINT_WEIGHTS[training.checkpoint == "best_val"],
        }

    def synthetic(self, rows: float) -> Expected:
        """A synthetic set, ``rows`` in units of the real training split."""
        blocks = None if self._rows is None else rows * self._rows
        prompt = (self._decoding.prompt_tokens or self._data.block_length) / self._data.block_length
        return {
            "expected_bytes": None if blocks is None else int(4 * blocks * self._data.block_length),
            "operations": self._operations(FORWARD * (prompt + self._decoding.sequences_per_prompt), blocks),
        }

    def edited(self) -> Expected:
        """The training split, edited."""
        expected = self.synthetic(1.0)
        return {"expected_bytes": expected["expected_bytes"], "operations": self._operations(FORWARD, self._rows)}

    def selected(self, rows: float) -> int | None:
        """Bytes of the rows of a synthetic set that a selection keeps."""
        size: int | None = self.synthetic(rows)["expected_bytes"]
        return size

    def scores(self) -> Expected:
        """Losses on the real splits."""
        if self._evaluated is None:
            return {}
        return self._scored(self._evaluated.values())

    def measures(self, rows: float) -> Expected:
        """Losses of a synthetic set, and those of the real validation split beside them."""
        if self._rows is None or self._evaluated is None:
            return {}
        expected = self._scored([rows * self._rows])
        return {**expected, "expected_bytes": expected["expected_bytes"] + int(4 * self._evaluated["validation"])}

    def _scored(self, splits: Any) -> Expected:
        blocks = list(splits)
        tokens = [count * (self._data.block_length - 1) for count in blocks]
        kept = sum(count for count in tokens if count <= KEPT_TOKEN_LOSSES)
        return {
            "expected_bytes": int(4 * kept + 4 * sum(blocks)),
            "operations": self._operations(FORWARD, sum(blocks)),
        }


def _share(draw: Draw) -> float:
    """Rows that a draw takes, in units of the real training split; each set of a whole union counts as one."""
    return float(len(draw.sources)) if draw.rows is None else draw.rows


def _blocks(data: LanguageModelData, split: str) -> float | None:
    """Blocks of a split: as the settings say, else by the bytes of its text."""
    if isinstance(data, KnownLanguageSettings):
        return float(getattr(data, f"{split}_blocks"))
    if limit := data.train_blocks if split == "train" else data.evaluation_blocks:
        return float(limit)
    size = _text_bytes(data, split)
    return None if size is None else size / BYTES_PER_TOKEN / data.block_length


def _text_bytes(data: LanguageModelData, split: str) -> float | None:
    if isinstance(data, TextFilesDataSettings):
        return _file_bytes(getattr(data, split))
    if not isinstance(data, HubDataSettings):
        return None
    raw = _file_bytes(str(Path(data.path, RAW_FILES[split])))
    return raw or PUBLISHED_TEXTS.get((data.path, data.configuration or ""), {}).get(split)


def _file_bytes(name: str) -> float | None:
    path = Path(name).expanduser()
    try:
        size = path.stat().st_size
    except OSError:
        return None
    return float(size * (UNPACKED if path.suffix == ".gz" else 1))
