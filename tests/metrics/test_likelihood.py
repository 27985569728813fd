"""Metrics of losses against their definitions, on numbers that no factor, offset or order leaves as they are."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from modelcollapse.metrics import likelihood
from modelcollapse.metrics.means import mean_metric

LOSSES = np.array([2.0, 3.5, 2.5, 4.0, 3.25, 2.75])
REAL = np.linspace(2.2, 3.8, 301)


def test_perplexities_and_bits():
    assert likelihood.perplexity(3.0) == pytest.approx(math.e**3)
    assert likelihood.perplexity_without_line_starts(2.0) == pytest.approx(math.e**2)
    # The first token of a row is not predicted: its 9 bytes do not count. Two rows of two tokens are left, 11 bytes.
    token_bytes = torch.tensor([[9, 3, 1], [9, 5, 2]])
    assert likelihood.bits_per_byte(1.5, token_bytes) == pytest.approx(4 * 1.5 / math.log(2) / 11)


def test_the_standard_error_is_scipys():
    assert likelihood.loss_standard_error(LOSSES) == pytest.approx(stats.sem(LOSSES))


@pytest.mark.parametrize("summary", [likelihood.reference_perplexity, likelihood.true_perplexity])
def test_perplexities_are_spread_as_numpy_has_it_and_beyond_real_ones(summary):
    # Two more half a unit of perplexity within the outer percentiles of the real ones.
    ends = np.add(np.exp(np.quantile(REAL, [0.01, 0.99])), [0.5, -0.5])
    perplexities = np.append(np.exp(LOSSES), ends)
    found = summary(np.log(perplexities), REAL)
    assert found["mean"] == pytest.approx(perplexities.mean())
    assert found["median"] == pytest.approx(np.median(perplexities))
    assert found["p95"] == pytest.approx(np.quantile(perplexities, 0.95))
    # Of the losses, 4.0 lies above all real ones, and 2.0 below.
    assert (found["above_real_p99"], found["below_real_p01"], found["n"]) == (1 / 8, 1 / 8, 8)


def test_measures_against_the_true_distribution():
    assert likelihood.true_nll(LOSSES) == pytest.approx(3.0)
    found = likelihood.against_truth(3.5, 3.2)
    assert found == {"true/perplexity": pytest.approx(math.exp(3.2)), "true/kl": pytest.approx(0.3)}


class Language:
    def unigram(self):
        return np.array([0.5, 0.03, 0.3, 0.06, 0.02, 0.09])


def test_rare_words_hold_a_tenth_together_at_most():
    # From the rarest: 0.02, 0.05, 0.11 in sum.
    assert likelihood.rare_words(Language().unigram()).tolist() == [False, True, False, False, True, False]
    # One tenth itself is still rare.
    assert likelihood.rare_words(np.array([0.1, 0.9])).tolist() == [True, False]
    assert likelihood.rare_word_share(torch.tensor([[1, 0, 2], [4, 1, 5]]), Language()) == 0.5


def test_running_means_are_weighted_in_double_precision_and_keep_what_is_no_number():
    metric = mean_metric()
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    metric.update(torch.tensor(2.0**-40, dtype=torch.float64), 4.0)
    assert metric.compute().dtype == torch.float64
    assert float(metric.compute()) == (7 + 2.0**-38) / 8
    metric.update(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 1.0]))
    assert metric.compute().isnan()
