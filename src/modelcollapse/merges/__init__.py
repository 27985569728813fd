"""Merges: how the weights of a generation are changed after its fit, by those of other generations.

Importing this module imports neither NumPy nor PyTorch.
"""
