"""Tokenizers: nothing of a text is lost, and every byte is counted."""

import json

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conftest import SHARED_DATA
from modelcollapse.data.blocks import tokenise
from modelcollapse.data.language import HiddenMarkovLanguage
from modelcollapse.data.settings import LanguageSettings
from modelcollapse.data.tokenizers import (
    bytes_per_token,
    has_fixed_bytes,
    load_tokenizer,
    train_byte_pairs,
    words_tokenizer,
)
from modelcollapse.errors import UserError

TEXTS = [
    "The old smith, who had come a long way, spoke softly.\n",
    " leading blanks,\ttabs\nand   runs of blanks \n",
    "Grüße, naïve café – “quoted” … 中文 русский 🙂\n",
    "x",
    "1,234.5 @-@ 6 <unk> = = Heading = =\n",
]
REAL_TOKENIZER = SHARED_DATA / "opt-tokenizer"


@pytest.fixture(scope="module")
def byte_pairs():
    return train_byte_pairs(TEXTS * 20, 400)


@pytest.fixture(scope="module")
def opt():
    if not REAL_TOKENIZER.is_dir():
        pytest.skip("needs OPT's tokenizer in ../shared/data/opt-tokenizer")
    return AutoTokenizer.from_pretrained(REAL_TOKENIZER)


def byte_fallback():
    """As SentencePiece's tokenizers of Llama: a blank before every line, unknown letters byte by byte."""
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([word for text in TEXTS[:2] * 9 for word in text.split()], trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = description["added_tokens"][:3]
    return tokenizers.Tokenizer.from_str(json.dumps(description)), {"bos_token": "<s>", "unk_token": "<unk>"}


def metaspace():
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.normalizer = normalizers.NFKC()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    return tokenizer, {"unk_token": "<unk>"}


def word_piece():
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    return tokenizer, {"unk_token": "[UNK]", "bos_token": "[CLS]"}


def word_level():
    tokenizer = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "The": 1, "old": 2, "naïve": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, {"unk_token": "<unk>"}


def prefixed_bytes():
    """As RoBERTa's: byte-level, with a blank before every line."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    return tokenizer, {}


def normalised_bytes():
    """Byte-level over text whose letters were composed and made small."""
    tokenizer, _ = prefixed_bytes()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return tokenizer, {}


KINDS = (byte_fallback, metaspace, word_piece, word_level, prefixed_bytes, normalised_bytes)


@pytest.mark.parametrize("line_start", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_a_whole_text_are_counted_whatever_the_tokenizer_makes_of_it(kind, line_start):
    description, special = kind()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=description, **special)
    assert not has_fixed_bytes(tokenizer)
    line_start = line_start and tokenizer.bos_token_id is not None
    some = list(tokenise(TEXTS, tokenizer, line_start, count_bytes=True))
    ids, lengths = (np.concatenate([each[column] for each in some]) for column in (0, 1))
    assert len(ids) == len(lengths) > 20
    assert lengths.sum() == len("".join(TEXTS).encode())
    assert lengths.min() >= 0
    if line_start:
        assert lengths[np.flatnonzero(ids == tokenizer.bos_token_id)].max() == 0


def test_letters_in_several_tokens_and_blanks_before_lines_are_counted_once():
    description, special = byte_fallback()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=description, **special)
    (some,) = tokenise(["a 中b\n"], tokenizer, True, count_bytes=True)
    assert tokenizer.convert_ids_to_tokens(some.ids.tolist()) == [
        "<s>", "▁a", "▁", "<0xE4>", "<0xB8>", "<0xAD>", "b", "<0x0A>",
    ]  # fmt: skip
    assert some.lengths.tolist() == [0, 1, 1, 3, 0, 0, 1, 1]


def test_byte_level_tokens_have_the_same_bytes_everywhere(byte_pairs):
    assert has_fixed_bytes(byte_pairs)
    text = TEXTS[2]
    (some,) = tokenise([text], byte_pairs, False, count_bytes=True)
    assert some.lengths.sum() == bytes_per_token(byte_pairs)[some.ids].sum() == len(text.encode())


@pytest.mark.parametrize("name", ["byte_pairs", "opt"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(request, name, text):
    tokenizer = request.getfixturevalue(name)
    tokens = tokenizer(text.replace("<unk>", "unk"), add_special_tokens=False)["input_ids"]
    lengths = bytes_per_token(tokenizer)
    assert lengths[tokens].sum() == len(text.replace("<unk>", "unk").encode())


@pytest.mark.parametrize("name", ["byte_pairs", "opt"])
def test_special_tokens_have_no_bytes_and_all_others_have_some(request, name):
    tokenizer = request.getfixturevalue(name)
    lengths = bytes_per_token(tokenizer)
    assert len(lengths) == len(tokenizer)
    special = {*tokenizer.all_special_ids}
    assert all(lengths[token] == 0 for token in special)
    assert tokenizer.bos_token_id in special
    assert all(lengths[token] > 0 for token in range(4, 260) if token not in special)


@pytest.mark.parametrize("text", TEXTS)
def test_byte_pairs_give_the_text_back(byte_pairs, text):
    assert byte_pairs.decode(byte_pairs(text, add_special_tokens=False)["input_ids"]) == text


def test_byte_pairs_have_opts_conventions_and_the_wanted_size(byte_pairs):
    assert len(byte_pairs) <= 400
    assert byte_pairs.bos_token_id == byte_pairs.eos_token_id == 2
    assert byte_pairs.pad_token_id == 1


def test_byte_pairs_are_the_same_from_the_same_text():
    one, other = (train_byte_pairs(TEXTS * 20, 400).backend_tokenizer.to_str() for _ in range(2))
    assert one == other


def test_a_saved_tokenizer_is_the_same_one(byte_pairs, tmp_path):
    byte_pairs.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for text in TEXTS:
        assert loaded(text)["input_ids"] == byte_pairs(text)["input_ids"]
    assert (bytes_per_token(loaded) == bytes_per_token(byte_pairs)).all()
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (2, 2, 1)


def test_words_are_numbered_as_in_the_language_and_survive_saving(tmp_path):
    language = HiddenMarkovLanguage(LanguageSettings(topics=2))
    tokenizer = words_tokenizer(language.vocabulary)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, load_tokenizer(tmp_path)):
        assert len(each) == len(language.vocabulary)
        assert each.all_special_ids == []
        assert each(" ".join(language.vocabulary))["input_ids"] == list(range(len(language.vocabulary)))
        assert each.bos_token_id is None


def test_a_word_counts_with_the_blank_behind_it():
    tokenizer = words_tokenizer(["the", "naïve", "."])
    assert bytes_per_token(tokenizer).tolist() == [4, 7, 2]
    text = "the naïve the . "
    assert bytes_per_token(tokenizer)[tokenizer(text)["input_ids"]].sum() == len(text.encode())


def test_code_beside_a_tokenizer_is_not_run(byte_pairs, tmp_path):
    byte_pairs.save_pretrained(tmp_path / "t")
    target = tmp_path / "executed"
    (tmp_path / "t" / "evil.py").write_text(f"open({str(target)!r}, 'w')\nclass Evil: pass\n")
    path = tmp_path / "t" / "tokenizer_config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}})
    )
    load_tokenizer(tmp_path / "t")
    assert not target.exists()


def test_a_folder_without_a_tokenizer_is_reported(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        load_tokenizer(tmp_path)
