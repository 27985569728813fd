"""A family, a kind of data, a regime, a scorer, a loss, a metric and a logger for modelcollapse, to be copied."""
