"""What is measured of a generation: plain functions of arrays that know neither models nor trackers.

`diversity` is about the tokens of a synthetic set, `distribution` about its perplexities.
"""
