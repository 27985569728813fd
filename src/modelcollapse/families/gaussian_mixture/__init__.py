"""Mixtures of Gaussians, fitted by expectation maximisation."""
