"""Metrics of a generation: pure functions of arrays that know neither models nor loggers.

`base` says what a metric is and how one is registered, `registration` lists those of this package, and `computing`
computes the chosen ones of finished artifacts. `likelihood` and `diversity` hold the metrics of language models,
`images` those of autoencoders, `distribution` how perplexities are summarised.
"""
