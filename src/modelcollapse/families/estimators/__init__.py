"""Estimator families: many cheap generations in one fit, over a batch of independent replicates."""
