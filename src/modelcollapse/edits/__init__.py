"""Edits: real data that are changed by models, in the place of data that models write.

Importing this module imports neither NumPy nor PyTorch.
"""
