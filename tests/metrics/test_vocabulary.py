"""Which words a set still uses, against direct counts, closed forms and simulation."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from modelcollapse.metrics import vocabulary as measures

SMALL = arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(3, 9)), elements=st.integers(0, 4))
HUGE = arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(3, 8)), elements=st.integers(0, 2**31 - 1))


class Language:
    def __init__(self, unigram):
        self._unigram = np.asarray(unigram)

    def unigram(self):
        return self._unigram


def grams(blocks, n):
    return Counter(tuple(row[at : at + n]) for row in blocks.tolist() for at in range(len(row) - n + 1))


@given(SMALL | HUGE, SMALL | HUGE)
def test_divergences_of_ngrams_are_those_of_their_counts(synthetic, real):
    for n, measured in ((1, measures.unigram_kl), (2, measures.bigram_kl)):
        counts = grams(real, n), grams(synthetic, n)
        every = sorted(counts[0].keys() | counts[1].keys())
        p, q = ([each[gram] + 0.5 for gram in every] for each in counts)
        assert measured(synthetic, real) == pytest.approx(entropy(p, q), abs=1e-12)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.4])
def test_the_exponent_of_a_law_is_found_from_its_sample(exponent):
    """Within 4 standard errors, 1 / sqrt(N Var[log rank]), the inverse of Fisher's information."""
    ranks = np.arange(1, 201)
    law = ranks**-exponent / (ranks**-exponent).sum()
    tokens = np.random.default_rng(3).choice(ranks, size=(2000, 100), p=law)
    found = measures.zipf(tokens)
    variance = law @ np.log(ranks) ** 2 - (law @ np.log(ranks)) ** 2
    assert found["last_rank"] == 200
    assert found["exponent"] == pytest.approx(exponent, abs=4 / math.sqrt(tokens.size * variance))


def test_equal_counts_have_exponent_0_and_their_number_as_effective_vocabulary():
    tokens = np.tile(np.arange(50), (400, 2))
    assert measures.zipf(tokens) == {"exponent": pytest.approx(0, abs=1e-9), "last_rank": 50}
    assert measures.effective_vocabulary(tokens) == pytest.approx(50, rel=1e-3)


def test_only_the_thousand_most_frequent_types_decide_the_exponent():
    frequent = np.repeat(np.arange(1000), 3).reshape(30, 100)
    assert measures.zipf(np.vstack([frequent, np.arange(1000, 3000).reshape(20, 100)]))["last_rank"] == 1000


def test_a_set_of_one_type_has_no_exponent():
    assert measures.zipf(np.full((3, 4), 7)) == {"last_rank": 1}


def test_types_are_kept_by_how_often_they_occur_in_real_text():
    real = np.concatenate([[1], [2], np.full(9, 3), np.full(10, 4), np.full(99, 5), np.full(1000, 6)])[None]
    kept = measures.bands_kept(np.array([[2, 3, 5, 7]]), real)
    assert kept == {"1": 0.5, "2_to_9": 1.0, "10_to_99": 0.5, "1000_up": 0.0}


def test_tenths_of_the_vocabulary_are_those_of_true_probability():
    probabilities = np.linspace(1, 2, 20) / np.linspace(1, 2, 20).sum()
    kept = measures.true_deciles_kept(np.array([[19, 18, 17, 0]]), Language(probabilities))
    assert list(kept) == [str(number) for number in range(1, 11)]
    assert kept == {"1": 1.0, "2": 0.5, **{str(number): 0.0 for number in range(3, 10)}, "10": 0.5}
