"""Selections: the choice among generated rows, by content, of those that later generations train on.

A model generates ``oversampling`` times the rows that the regime asks for, the candidates; a scorer gives each a
number, and a rule keeps as many as were asked for. So shares, pools, growth and sizes are as without a selection.
Importing this module imports neither NumPy nor PyTorch.
"""
