"""Tokens, blocks and their order of service, against the plainest way of computing them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from transformers import PreTrainedTokenizerFast

from modelcollapse.data import blocks as module
from modelcollapse.data import sources, text
from modelcollapse.data.batches import EpochSampler, in_order, in_order_together
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.data.blocks import Tokens, block_count, cut, read_blocks, tokenise, write_blocks
from modelcollapse.data.text import Continued, file_lines
from modelcollapse.data.tokenizers import train_byte_pairs
from modelcollapse.errors import UserError
from modelcollapse.seeding import Stream

LINES = [
    " = Heading = \n",
    "",
    "The first line, with words.\n",
    " another one \n",
    "",
    "Grüße 🙂\n",
    "the last without end",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_byte_pairs(LINES * 30, 330)


# ---- tokens and blocks ----------------------------------------------------------------------------------------------


def ids_of(lines, tokenizer, line_start):
    return [token for some in tokenise(lines, tokenizer, line_start) for token in some.ids.tolist()]


@pytest.mark.parametrize("line_start", [True, False])
def test_tokens_are_those_of_the_lines_one_by_one(tokenizer, line_start):
    start = [tokenizer.bos_token_id] if line_start else []
    expected = []
    for line in LINES:
        expected += start + tokenizer(line, add_special_tokens=False)["input_ids"]
    assert ids_of(LINES, tokenizer, line_start) == expected
    assert all(some.ids.dtype == np.int32 for some in tokenise(LINES, tokenizer, line_start))


def test_many_lines_are_tokenised_in_groups_without_a_seam(tokenizer):
    lines = [f"line {number}\n" for number in range(4100)]
    assert ids_of(iter(lines), tokenizer, True) == [
        token for line in lines for token in ids_of([line], tokenizer, True)
    ]


@pytest.mark.parametrize(("name", "most", "groups"), [("LINES_AT_ONCE", 2, 5), ("CHARACTERS_AT_ONCE", 7, 3)])
def test_some_lines_at_a_time_are_tokenised(tokenizer, monkeypatch, name, most, groups):
    monkeypatch.setattr(module, name, most)
    found = list(tokenise(["ab\n"] * 9, tokenizer, False))
    assert len(found) == groups
    assert np.concatenate([some.ids for some in found]).tolist() == ids_of(["ab\n" * 9], tokenizer, False)


def test_what_a_tokenizer_puts_around_every_text_is_left_out(tokenizer):
    talkative = train_byte_pairs(LINES * 30, 330)
    talkative.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="</s> $A </s>", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    assert talkative("a")["input_ids"][0] == tokenizer.eos_token_id
    assert ids_of(LINES, talkative, False) == ids_of(LINES, tokenizer, False)


def test_no_lines_are_no_tokens(tokenizer):
    assert ids_of([], tokenizer, True) == []


@given(st.integers(0, 60), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 20))
def test_blocks_are_consecutive_and_the_remainder_is_dropped(count, length, most, at_once):
    numbers = np.arange(count, dtype=np.int32)
    parts = [numbers[start : start + at_once] for start in range(0, count, at_once)]
    with TemporaryDirectory() as folder:
        blocks, lengths = cut((Tokens(part, part + 1) for part in parts), Path(folder), length, most)
        write_blocks(Path(folder), blocks=blocks, lengths=lengths)
        read, others = (read_blocks(Path(folder), name) for name in ("blocks", "lengths"))
        assert [path.name for path in Path(folder).iterdir()] == ["blocks.safetensors"]
    wanted = count // length if most is None else min(count // length, most)
    assert read.shape == others.shape == blocks.shape == (wanted, length)
    assert read.flatten().tolist() == list(range(wanted * length))
    assert (others - read == 1).all()


def test_no_more_is_tokenised_than_blocks_need(tokenizer, tmp_path):
    lines, taken = [f"line {number}\n" for number in range(100_000)], []

    def read():
        for line in lines:
            taken.append(line)
            yield line

    blocks, _ = cut(tokenise(read(), tokenizer, True), tmp_path, 8, 5)
    assert len(blocks) == 5
    assert len(taken) < 5000


def test_the_file_of_blocks_is_the_one_that_safetensors_writes(tmp_path):
    arrays = {
        "train": np.arange(6, dtype=np.int32).reshape(2, 3),
        "bytes": np.arange(5, dtype=np.int32),
        "fresh": np.arange(8, dtype=np.int64).reshape(4, 2),
        "none": np.empty((0, 3), dtype=np.int32),
    }
    write_blocks(tmp_path, **arrays)
    save_file(arrays, tmp_path / "expected")
    assert (tmp_path / "blocks.safetensors").read_bytes() == (tmp_path / "expected").read_bytes()
    for name, array in arrays.items():
        assert read_blocks(tmp_path, name).tolist() == array.tolist()
        assert block_count(tmp_path, name) == len(array)


# ---- long lines -----------------------------------------------------------------------------------------------------


def test_a_long_line_gives_the_tokens_of_the_line(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONG_LINE", 300)
    lines = [" ".join(LINES[number % 7].strip() or "word" for number in range(200)) + "\n", "short\n"]
    (tmp_path / "long.txt").write_text("".join(lines), encoding="utf-8")
    parts = list(file_lines(tmp_path / "long.txt"))
    assert len(parts) > 8
    assert "".join(parts) == "".join(lines)
    assert max(map(len, parts)) <= 301
    assert [isinstance(part, Continued) for part in parts] == [False] + [True] * (len(parts) - 2) + [False]
    assert ids_of(parts, tokenizer, True) == ids_of(lines, tokenizer, True)


def test_how_a_file_is_read_divides_no_line_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONG_LINE", 100)
    words = "".join("w" * (number % 130 + 1) + " " * (number % 3 + 1) for number in range(60))
    (tmp_path / "a.txt").write_text(f"{words}\n\nend\n", encoding="utf-8")
    ways = []
    for at_once in (7, 300, 100_000):
        monkeypatch.setattr(sources, "CHUNK", at_once)
        ways.append(list(file_lines(tmp_path / "a.txt")))
    assert ways[0] == ways[1] == ways[2]
    assert "".join(ways[0]) == f"{words}\nend\n"
    assert len(ways[0]) > 10


@pytest.mark.parametrize("part", [" word word word", " word"])
def test_a_tokenizer_that_joins_words_is_not_given_parts(part):
    joined = tokenizers.Tokenizer(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=200, show_progress=False)
    joined.train_from_iterator(["d w"] * 10 + ["w o r d"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=joined)
    with pytest.raises(UserError, match="cannot be tokenised in parts with this tokenizer"):
        ids_of(["word " * 3 + "word", Continued(part)], tokenizer, False)


# ---- the order of service -------------------------------------------------------------------------------------------


def epoch(rows, rows_per_epoch, number, stream=None, batch_size=4):
    sampler = EpochSampler(rows, rows_per_epoch, batch_size, stream or Stream(0, 0, "test.order"))
    sampler.set_epoch(number)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    return [row for batch in batches for row in batch]


@given(st.integers(1, 40), st.integers(0, 5))
def test_an_epoch_is_a_permutation(rows, number):
    assert sorted(epoch(rows, rows, number)) == list(range(rows))


def test_epochs_differ_and_depend_on_stream_and_number_only():
    stream = Stream(1, 2, "test.order")
    first = epoch(30, 30, 0, stream)
    assert first != epoch(30, 30, 1, stream)
    assert first != epoch(30, 30, 0, Stream(2, 2, "test.order"))
    assert first != list(range(30))
    torch.manual_seed(torch.randint(1000, ()).item())
    np.random.seed(3)
    assert first == epoch(30, 30, 0, Stream(1, 2, "test.order"))
    assert first == epoch(30, 30, 0, stream, batch_size=7)


def test_a_sampler_can_be_iterated_again_and_out_of_order():
    sampler = EpochSampler(20, 20, 6, Stream(0, 0, "test.order"))
    orders = {}
    for number in (2, 0, 1, 2, 0):
        sampler.set_epoch(number)
        order = list(sampler)
        assert orders.setdefault(number, order) == order


@given(st.integers(1, 25), st.integers(1, 60), st.integers(1, 8))
def test_epochs_of_any_length_take_their_rows_evenly(rows, rows_per_epoch, epochs):
    """Laid end to end the epochs are permutation after permutation: no row is ever two rounds behind another."""
    served = [row for number in range(epochs) for row in epoch(rows, rows_per_epoch, number)]
    assert len(served) == rows_per_epoch * epochs
    for start in range(0, len(served), rows):
        part = served[start : start + rows]
        assert len(set(part)) == len(part)
    counts = np.bincount(served, minlength=rows)
    assert counts.max() - counts.min() <= 1


def test_batches_in_order_are_all_rows_once():
    rows = torch.arange(22).reshape(11, 2)
    batches = list(in_order(rows, 4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert torch.cat(batches).tolist() == rows.tolist()
    halves = in_order_together((rows[:, :1], rows[:, 1:]), 4)
    assert [torch.cat(half, 1).tolist() for half in halves] == [batch.tolist() for batch in batches]


def test_a_training_batch_holds_tokens_and_weights_of_the_same_rows():
    blocks = torch.arange(24, dtype=torch.int32).reshape(12, 2)
    weights = torch.arange(12.0)
    module = BlocksDataModule(blocks, weights, blocks[:3], EpochSampler(12, 12, 5, Stream(0, 0, "test.order")), 2)
    seen = []
    for batch in module.train_dataloader():
        assert batch["tokens"].dtype == torch.int64
        assert (batch["tokens"][:, 0] / 2).tolist() == batch["weights"].tolist()
        seen += batch["weights"].tolist()
    assert sorted(seen) == weights.tolist()
    assert torch.cat(list(module.val_dataloader())).tolist() == blocks[:3].tolist()


def test_serving_batches_draws_no_global_random_numbers():
    blocks = torch.zeros(12, 2, dtype=torch.int32)
    module = BlocksDataModule(blocks, torch.ones(12), blocks, EpochSampler(12, 12, 5, Stream(0, 0, "test.order")), 2)
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    list(module.train_dataloader())
    list(module.val_dataloader())
    assert torch.rand(1) == expected
