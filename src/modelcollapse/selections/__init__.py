"""Selections: which of the rows that a model wrote the next generation trains on.

A model writes ``oversampling`` times the rows that the regime asks of it, the candidates; a scorer gives each a number,
and a rule keeps as many as were asked for. So shares, pools, growth and sizes are as without a selection. Importing
this module imports neither NumPy nor PyTorch.
"""
