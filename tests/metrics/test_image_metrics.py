import math

import numpy as np
import pytest
import torch

from modelcollapse.metrics.images import (
    class_shares,
    confidence,
    entropy,
    kernel_inception_distance,
    precision_and_recall,
)

RANDOM = np.random.default_rng(0)


def features(rows, mean=0.0, size=6):
    return torch.from_numpy(RANDOM.normal(mean, 1.0, (rows, size))).float()


def direct_kid(real, samples):
    """The unbiased estimator of Bińkowski et al. 2018 (eq. 4), term by term."""
    real, samples = real.double().numpy(), samples.double().numpy()
    rows, size = real.shape

    def kernel(x, y):
        return (x @ y / size + 1) ** 3

    pairs = [(i, j) for i in range(rows) for j in range(rows) if i != j]
    within = sum(kernel(real[i], real[j]) + kernel(samples[i], samples[j]) for i, j in pairs) / (rows * (rows - 1))
    across = sum(kernel(x, y) for x in real for y in samples) / rows**2
    return within - 2 * across


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_kid_is_the_direct_formula(mean):
    real, samples = features(20), features(20, mean)
    assert kernel_inception_distance(real, samples) == pytest.approx(direct_kid(real, samples), rel=1e-10)


def test_kid_takes_as_many_rows_of_both_and_has_no_bias():
    real, samples = features(20), features(30, 1.0)
    assert kernel_inception_distance(real, samples) == kernel_inception_distance(real, samples[:20])
    values = [kernel_inception_distance(features(10), features(10)) for _ in range(400)]
    # Five standard errors; the biased estimator with the same rows is above by many more.
    assert abs(np.mean(values)) < 5 * np.std(values) / math.sqrt(len(values))
    with pytest.raises(ValueError, match="two rows"):
        kernel_inception_distance(real[:1], samples)


def direct_share_within(rows, centres, neighbours):
    """Share of rows inside a ball around any centre that reaches to its k-th nearest other centre."""
    found = 0
    for row in rows.double().numpy():
        for centre in centres.double().numpy():
            others = sorted(np.linalg.norm(centres.double().numpy() - centre, axis=1))
            if np.linalg.norm(row - centre) <= others[neighbours]:
                found += 1
                break
    return found / len(rows)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_precision_and_recall_are_the_definition(neighbours):
    real, samples = features(40), 0.5 * features(30)
    measured = precision_and_recall(real, samples, neighbours)
    assert measured.precision == direct_share_within(samples, real, neighbours)
    assert measured.recall == direct_share_within(real, samples, neighbours)
    assert measured.precision > measured.recall


def test_precision_and_recall_of_equal_far_and_partial_sets():
    real = torch.cat([features(50), features(50, 100.0)])
    assert precision_and_recall(real, real) == (1.0, 1.0)
    assert precision_and_recall(real, features(50, -100.0)) == (0.0, 0.0)
    one_mode = precision_and_recall(real, real[:50])
    assert one_mode == (1.0, 0.5)
    with pytest.raises(ValueError, match="3 neighbours are not available among 3 rows"):
        precision_and_recall(real, real[:3])


def test_precision_and_recall_do_not_depend_on_how_many_rows_are_taken_at_once(monkeypatch):
    real, samples = features(40), features(30)
    whole = precision_and_recall(real, samples)
    monkeypatch.setattr("modelcollapse.metrics.images.ROWS_AT_ONCE", 7)
    assert precision_and_recall(real, samples) == whole


def test_classes():
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 9.0, 0.0], [0.0, 9.0, 0.0]])
    shares = class_shares(logits)
    assert shares.tolist() == [0.25, 0.75, 0.0]
    assert entropy(torch.tensor([0.5, 0.5, 0.0])) == pytest.approx(math.log(2))
    assert entropy(torch.full((10,), 0.1)) == pytest.approx(math.log(10))
    assert entropy(torch.tensor([1.0, 0.0])) == 0.0
    assert confidence(logits) == pytest.approx(math.exp(9) / (math.exp(9) + 2))
    assert confidence(torch.zeros(2, 4)) == 0.25
