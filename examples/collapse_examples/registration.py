"""What the package registers: names, settings, versions, and where the implementations are.

This module is imported whenever a configuration is composed. So it imports nothing heavy, and names each implementation
as ``"module:name"``, which is imported when it is used.
"""

from collapse_examples.settings import (
    BoundedUpdateSettings,
    EveryKthSettings,
    ExponentialSettings,
    FewestRepeatsSettings,
    GammaSettings,
    PolySettings,
)
from modelcollapse.families.estimators.settings import memory_problems
from modelcollapse.families.options import FLOAT64_ON_CPU, family
from modelcollapse.metrics.base import metric_member
from modelcollapse.registry import Member

FAMILIES = (
    family(
        "exponential",
        "collapse_examples.exponential:ExponentialFamily",
        ExponentialSettings,
        forms=("positive_samples",),
        goes_with="data=gamma_samples decoding=none",
        chain_checks=(memory_problems,),
        accelerators=FLOAT64_ON_CPU,
        stages="collapse_examples.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="collapse_examples.presentation:EXPONENTIAL",
    ),
)
DATA = (
    Member(
        "data",
        "gamma_samples",
        "collapse_examples.gamma_samples:GammaSamples",
        settings=GammaSettings,
        options={"form": "positive_samples"},
    ),
)
REGIMES = Member(
    "regimes", "every_kth", "collapse_examples.every_kth:EveryKth", settings=EveryKthSettings, label="every k-th real"
)
SCORERS = Member(
    "scorers",
    "fewest_repeats",
    "collapse_examples.fewest_repeats:FewestRepeats",
    settings=FewestRepeatsSettings,
    label="share of sequences of tokens that occur once",
    options={"needs": ()},
)
LOSSES = Member("losses", "poly", "collapse_examples.poly:poly", settings=PolySettings)
MERGES = Member(
    "merges",
    "bounded_update",
    "collapse_examples.bounded_update:BoundedUpdate",
    settings=BoundedUpdateSettings,
    options={"needs": ("reference",)},
)
METRICS = metric_member(
    "most_frequent_token",
    "collapse_examples.most_frequent_token:most_frequent_token",
    of="synthetic",
    needs=("tokens",),
    label="share of the most frequent token",
    what="Share of the tokens of a synthetic set that are its most frequent one.",
)
LOGGERS = Member("loggers", "markdown_table", "collapse_examples.markdown_table:MarkdownTable")
