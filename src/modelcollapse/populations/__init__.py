"""Populations: several models that are trained side by side, each on what some of them wrote.

Notation: m members, n real rows of each; member j trains on D_t^j, in which S_{t-1} is its *diet*: n rows of what the
members of generation t - 1 wrote. Importing this package imports nothing heavy.
"""
