import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelcollapse.metrics import diversity as measures
from modelcollapse.metrics.base import metrics

SMALL = arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(3, 9)), elements=st.integers(0, 4))
HUGE = arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(5, 8)), elements=st.integers(0, 2**31 - 1))
NAMES = [
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "type_token_ratio",
    "vocabulary_kept",
    "unigram_entropy",
    "repetition_rate",
]


def ngrams(block, n):
    return [tuple(block[start : start + n]) for start in range(len(block) - n + 1)]


@given(SMALL | HUGE, st.integers(1, 3))
def test_distinct_n_counts_ngrams_within_blocks(blocks, n):
    every = [gram for block in blocks.tolist() for gram in ngrams(block, n)]
    assert measures.distinct_n(blocks, n) == len(set(every)) / len(every)


@given(HUGE)
def test_long_ngrams_of_large_token_ids_do_not_collide(blocks):
    every = [gram for block in blocks.tolist() for gram in ngrams(block, 5)]
    assert measures.distinct_n(blocks, 5) == len(set(every)) / len(every)


@given(SMALL | HUGE, st.integers(1, 3))
def test_repetition_rate_counts_earlier_occurrences_in_the_block(blocks, n):
    rates = []
    for block in blocks.tolist():
        grams = ngrams(block, n)
        rates.append(sum(gram in grams[:place] for place, gram in enumerate(grams)) / len(grams))
    assert measures.repetition_rate(blocks, n).numpy() == pytest.approx(np.array(rates), abs=1e-12)


@given(SMALL)
def test_type_token_ratio_is_the_mean_over_blocks(blocks):
    expected = np.mean([len(set(block)) / len(block) for block in blocks.tolist()])
    assert measures.type_token_ratio(blocks) == pytest.approx(expected, abs=1e-12)


@given(SMALL, SMALL)
def test_vocabulary_kept_is_a_share_of_real_types(blocks, real):
    real_types = set(real.ravel().tolist())
    expected = len(real_types & set(blocks.ravel().tolist())) / len(real_types)
    assert measures.vocabulary_kept(blocks, real) == expected


@given(SMALL)
def test_entropy_is_plug_in_plus_miller_madow(blocks):
    counts = Counter(blocks.ravel().tolist())
    plug_in = -sum(k / blocks.size * math.log(k / blocks.size) for k in counts.values())
    corrected = plug_in + (len(counts) - 1) / (2 * blocks.size)
    assert measures.unigram_entropy(blocks) == pytest.approx(corrected, abs=1e-12)


def test_known_values():
    blocks = np.array([[1, 2, 1, 2, 1, 2], [3, 3, 3, 3, 3, 3]])
    assert measures.distinct_n(blocks, 1) == 3 / 12
    assert measures.distinct_n(blocks, 2) == 3 / 10
    assert measures.repetition_rate(blocks).numpy() == pytest.approx(np.array([2 / 4, 3 / 4]))
    assert measures.repeated_trigrams(blocks) == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert measures.type_token_ratio(blocks) == pytest.approx((2 / 6 + 1 / 6) / 2)
    assert measures.vocabulary_kept(blocks, np.array([[1, 2, 7, 8]])) == 0.5
    assert measures.unigram_entropy(np.full((3, 4), 9)) == 0


def test_correction_removes_most_of_the_bias_of_the_plug_in_entropy():
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.full(200, 2.0))
    truth = -np.sum(shares * np.log(shares))
    draws = [generator.choice(200, size=(40, 50), p=shares) for _ in range(300)]
    estimates = np.array([measures.unigram_entropy(blocks) for blocks in draws])
    correction = np.array([(np.unique(blocks).size - 1) / (2 * blocks.size) for blocks in draws])
    plug_in_bias = truth - np.mean(estimates - correction)
    assert plug_in_bias == pytest.approx(199 / (2 * 2000), rel=0.15)
    assert abs(truth - estimates.mean()) < 0.1 * plug_in_bias


def test_distinct_n_falls_with_size_and_the_ratio_per_block_does_not():
    blocks = np.random.default_rng(0).integers(0, 100, (4000, 32))
    for part in (blocks[:400], blocks):
        bigrams = part.shape[0] * 31
        expected = 100**2 * (1 - (1 - 1 / 100**2) ** bigrams) / bigrams
        assert measures.distinct_n(part, 2) == pytest.approx(expected, rel=0.01)
    small, large = measures.type_token_ratio(blocks[:400]), measures.type_token_ratio(blocks)
    assert small == pytest.approx(large, rel=0.01)


def all_of(blocks):
    """Every metric of this module, by name."""
    offered = {"tokens": blocks, "training_tokens": blocks}
    found = [metric for metric in metrics() if str(metric.member.implementation).startswith(f"{measures.__name__}:")]
    return {metric.name: metric.member.load()(**{need: offered[need] for need in metric.needs}) for metric in found}


def test_all_measures_under_their_names():
    blocks = np.random.default_rng(0).integers(0, 50, (20, 16))
    result = all_of(blocks)
    assert set(result) == {*NAMES, "distinct_4"}
    assert result["vocabulary_kept"] == 1
    assert result["distinct_1"] == len(set(blocks.ravel())) / blocks.size
    assert all(type(value) is float for value in result.values())
    assert all_of(torch.from_numpy(blocks).int()) == result


@pytest.mark.parametrize(
    "blocks",
    [np.zeros((0, 4), int), np.zeros(4, int), np.zeros((2, 4)), np.array([[-1, 2]]), np.array([[2**31, 2]])],
    ids=["empty", "flat", "float", "negative", "too large"],
)
def test_what_is_no_set_of_blocks_is_refused(blocks):
    with pytest.raises(ValueError, match=r"blocks|token ids"):
        measures.unigram_entropy(blocks)


def test_ngrams_longer_than_a_block_are_refused():
    with pytest.raises(ValueError, match="n = 5"):
        measures.distinct_n(np.zeros((2, 4), int), 5)
