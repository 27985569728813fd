"""Running means in float64 that keep NaN."""

import math

import torch
from torchmetrics import MeanMetric


def mean_metric() -> MeanMetric:
    """A float64 mean, weighted if asked, that lets NaN through, so that a broken model is seen."""
    # NaN stands for NaN: the strategy "disable" would let it through too, but ignores the weights.
    metric = MeanMetric(nan_strategy=math.nan).set_dtype(torch.float64)
    assert isinstance(metric, MeanMetric)
    return metric
