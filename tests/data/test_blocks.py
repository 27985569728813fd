"""Tokens, blocks and their order of service, against the plainest way of computing them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelcollapse.data.batches import EpochSampler, in_order, in_order_together
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.data.blocks import block_count, into_blocks, read_blocks, tokenise, write_blocks
from modelcollapse.data.tokenizers import train_byte_pairs
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


@pytest.mark.parametrize("line_start", [True, False])
def test_tokens_are_those_of_the_lines_one_by_one(tokenizer, line_start):
    start = [tokenizer.bos_token_id] if line_start else []
    expected = []
    for line in LINES:
        expected += start + tokenizer(line, add_special_tokens=False)["input_ids"]
    tokens = tokenise(LINES, tokenizer, line_start)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == expected


def test_many_lines_are_tokenised_in_groups_without_a_seam(tokenizer):
    lines = [f"line {number}\n" for number in range(4100)]
    together = tokenise(iter(lines), tokenizer, True)
    assert together.tolist() == np.concatenate([tokenise([line], tokenizer, True) for line in lines]).tolist()


def test_no_lines_are_no_tokens(tokenizer):
    assert tokenise([], tokenizer, True).tolist() == []


@given(st.integers(0, 60), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 9)))
def test_blocks_are_consecutive_and_the_remainder_is_dropped(count, length, most):
    tokens = np.arange(count, dtype=np.int32)
    blocks = into_blocks(tokens, length, most)
    wanted = count // length if most is None else min(count // length, most)
    assert blocks.shape == (wanted, length)
    assert blocks.flatten().tolist() == list(range(wanted * length))


def test_blocks_are_written_and_read_and_counted(tmp_path):
    arrays = {"train": np.arange(6, dtype=np.int32).reshape(2, 3), "bytes": np.arange(4, dtype=np.int32)}
    write_blocks(tmp_path, **arrays)
    for name, array in arrays.items():
        assert read_blocks(tmp_path, name).tolist() == array.tolist()
        assert block_count(tmp_path, name) == len(array)


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
