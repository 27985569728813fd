"""Categorical distributions, resampled and counted."""
