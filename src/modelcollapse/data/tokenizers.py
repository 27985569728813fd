"""Tokenizers: words of the built-in language, byte-level BPE trained here, or a pretrained one."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modelcollapse.errors import UserError

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")


def words_tokenizer(vocabulary: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token a word, numbered as in the vocabulary; no special tokens, so that every token is a word."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def train_byte_pairs(lines: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding in OPT's conventions: ``</s>`` starts and ends text, ``<pad>`` is token 1."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


class BadTokenizer(UserError):
    """A tokenizer that cannot be loaded; the message says from where and why."""


def load_tokenizer(source: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or a hub id; code beside it is never run. Raises BadTokenizer if there is none."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder_or_id(source), revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadTokenizer(f"{source}: no tokenizer could be loaded from there ({reason})") from error
    return tokenizer


def folder_or_id(source: str | Path) -> str:
    """The path of a local folder, its ``~`` expanded, or else the hub id as it is."""
    folder = Path(source).expanduser()
    return str(folder if folder.is_dir() else source)


def bytes_per_token(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Length of each token's text in UTF-8 bytes, int32 [vocabulary]; special tokens have none.

    A byte-level token is written with one character a byte. A word counts with the blank that parts it from the next.
    """
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    byte_level = _is_byte_level(tokenizer)
    lengths = [len(text) if byte_level else len(text.encode()) + 1 for text in texts]
    return np.array([0 if token in special else length for token, length in enumerate(lengths)], dtype=np.int32)


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    return isinstance(tokenizer, PreTrainedTokenizerFast) and "ByteLevel" in str(
        tokenizer.backend_tokenizer.pre_tokenizer
    )
