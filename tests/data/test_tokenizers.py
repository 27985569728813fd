"""Tokenizers: nothing of a text is lost, and every byte is counted."""

import pytest
from transformers import AutoTokenizer

from conftest import SHARED_DATA
from modelcollapse.data.language import HiddenMarkovLanguage
from modelcollapse.data.settings import LanguageSettings
from modelcollapse.data.tokenizers import bytes_per_token, load_tokenizer, train_byte_pairs, words_tokenizer
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
    import json

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
