"""Tokenizers: words of the built-in language, byte-level BPE trained here, or a pretrained one."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modelcollapse.data.sources import BadSource, reason_of

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


class BadTokenizer(BadSource):
    """A tokenizer that cannot be used; the message says from where and why."""


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder; code beside it is never run. Raises BadTokenizer if there is none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise BadTokenizer(f"{folder}: there is no such folder")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
        vocabulary = tokenizer.get_vocab()
    except Exception as error:
        # Libraries raise errors of all kinds for what files hold, bare ones among them.
        raise BadTokenizer(f"{folder}: no tokenizer could be loaded from there ({reason_of(error)})") from error
    if not set(vocabulary) - set(tokenizer.all_special_tokens) - set(tokenizer.get_added_vocab()):
        raise BadTokenizer(
            f"{folder}: no tokenizer could be loaded from there (it holds no vocabulary: tokenizer.json, or vocab.json"
            " and merges.txt); model.tokenizer.path=FOLDER takes one from elsewhere"
        )
    if max(vocabulary.values()) >= LARGEST_VOCABULARY:
        raise BadTokenizer(f"{folder}: its tokenizer numbers tokens up to {max(vocabulary.values())}, which is none's")
    return tokenizer


LARGEST_VOCABULARY = 2**24
"""Number of tokens that no tokenizer has."""


# ---- bytes of tokens ------------------------------------------------------------------------------------------------


def bytes_per_token(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Length of each token's text in UTF-8 bytes, int32 [vocabulary]; special tokens have none.

    For tokenizers with fixed bytes, whose tokens are written with one character a byte, and for words, which count with
    the blank that parts each from the next.
    """
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    is_byte_level = has_fixed_bytes(tokenizer)
    lengths = [len(text) if is_byte_level else len(text.encode()) + 1 for text in texts]
    return np.array([0 if token in special else length for token, length in enumerate(lengths)], dtype=np.int32)


def has_fixed_bytes(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a token stands for the same bytes wherever it is: byte-level ones that leave the text as it is."""
    return described_fixed_bytes(json.loads(tokenizer.backend_tokenizer.to_str()))


def described_fixed_bytes(description: Mapping[str, Any]) -> bool:
    """The same of the content of a ``tokenizer.json``."""
    parts = description.get("pre_tokenizer") or {}
    parts = parts.get("pretokenizers", [parts])
    byte_level = [part for part in parts if part.get("type") == "ByteLevel"]
    added = [token for token in description.get("added_tokens", []) if not token["special"]]
    return (
        len(byte_level) == 1
        and not byte_level[0].get("add_prefix_space")
        and not description.get("normalizer")
        and all(part.get("behavior", "Isolated") != "Removed" for part in parts)
        and not any(token["lstrip"] or token["rstrip"] or not token["content"].isascii() for token in added)
    )
