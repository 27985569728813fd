"""Gaussians of any dimension, fitted by their moments."""
