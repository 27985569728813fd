"""Presentation of a family in the report of a sweep: headline, panels, figures, as plain values.

Reading a presentation imports neither torch nor the family; a report of finished chains needs nothing else of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Headline = Sequence[tuple[str, str]]
"""Metrics that tables show: flat name and column heading of each."""
POSITIVE, SHARE = (0.0, math.inf), (0.0, 1.0)
"""Possible values of distances, variances and counts; of shares and probabilities."""


@dataclass(frozen=True)
class Panel:
    """One metric against the generation."""

    metric: str
    """Flat name, as in ``generations.jsonl``."""
    label: str
    """Label of the axis."""
    log: bool | Literal["wide"] = False
    """Whether the axis is logarithmic: ``wide`` where the values span more than a factor of ten."""
    root: bool = False
    """Whether the square root of the mean and its interval is drawn: a root mean square."""
    since: int = 0
    """First generation drawn: 1 for a distance to generation 0, which has none to itself."""
    real: str | None = None
    """Metric whose mean is drawn dotted beside it: the same of real data."""


@dataclass(frozen=True)
class CurveFigure:
    """Panels that are published together."""

    name: str
    """File name without suffix."""
    panels: tuple[Panel, ...]
    log_generations: bool = False
    """Whether the generation, plus one, is on a logarithmic axis."""


@dataclass(frozen=True)
class PooledFigure:
    """A figure of one group of chains, drawn from a table of theirs, all seeds together."""

    name: str
    """File name without suffix; the group is added where there are several."""
    table: str
    """Name of the parquet table in the run folders."""
    draw: str
    """``module:function``; takes the table and a FigureText, returns a Figure."""
    counted: str
    """What a row of the table is, such as ``sequences``."""


@dataclass(frozen=True)
class JointFigure:
    """A figure of groups that differ in one setting, drawn from their tables one after the other."""

    name: str
    """File name without suffix."""
    table: str
    """Name of the parquet table in the run folders; it has a column that holds the setting."""
    draw: str
    """``module:function``; takes the table and a FigureText, returns a Figure."""
    over: str
    """The setting, such as ``data.rows``; drawn only where nothing else distinguishes the groups."""


@dataclass(frozen=True)
class Distribution:
    """A distribution of ``histograms.jsonl``, to look at generation by generation."""

    name: str
    """As in ``histograms.jsonl``."""
    label: str
    """Label of the axis."""
    real: str | None = None
    """Name of the distribution whose generation 0 is drawn beside all: the same of real data."""
    of_logarithms: bool = False
    """Whether natural logarithms were recorded; their exponentials are shown, on a logarithmic axis."""


DEFINITIONS: "Mapping[str, str]" = MappingProxyType(
    {
        "catastrophe": "catastrophic rise of the test risk",
        "rise": "any rise of the test risk",
        "divergence": "divergence of the test risk",
        "diversity": "loss of variance or diversity",
        "tails": "loss of tails",
        "scaling": "change of the scaling law with data",
        "similarity": "less similarity to real data",
        "modes": "loss of modes",
        "hallucination": "appearance of hallucinated data",
    }
)
"""What has been called collapse (Schaeffer et al. 2025, arXiv 2503.03150): name -> what it is called in tables."""
OF_THE_RISK = ("catastrophe", "rise", "divergence")
"""Those that are read off one metric, the test risk."""


@dataclass(frozen=True)
class Symptom:
    """A metric by which a definition of collapse is judged."""

    definition: str
    """One of :data:`DEFINITIONS` that is not :data:`OF_THE_RISK`, or ``risk`` for all of these."""
    metric: str
    """Flat name."""
    falls: bool = True
    """Whether a collapse makes it fall; else it makes it rise."""


@dataclass(frozen=True)
class Presentation:
    """Presentation of a family's chains in a report."""

    headline: Headline = ()
    """Metrics shown for every generation, unless ``metrics.shown`` names others."""
    figures: Sequence[CurveFigure] = ()
    """The curves of the paper."""
    pooled: Sequence[PooledFigure] = ()
    """Figures of single groups."""
    joint: Sequence[JointFigure] = ()
    """Figures of groups that differ in one setting."""
    distributions: Sequence[Distribution] = ()
    """Distributions with a slider over the generations."""
    pictures: Sequence[tuple[str, str]] = ()
    """Figures of single runs that are images of what was made: (file name without suffix, what it shows)."""
    theory: str | None = None
    """Name of the parquet table whose column ``theory/X`` is what metric ``X/mean`` is expected to be."""
    symptoms: Sequence[Symptom] = ()
    """What the collapse profile of a report is made of."""
    replicates: bool = False
    """Whether ``X/mean`` and ``X/standard_deviation`` summarise the ``model.replicates`` replicates of a chain."""
    possible: "Mapping[str, tuple[float, float]]" = field(default_factory=dict)
    """Measure of a replicate -> smallest and largest possible value; those of metrics are said where these are
    registered."""
    labels: "dict[str, str]" = field(init=False, default_factory=dict, repr=False)
    """Metric -> what it is called, of all headlines and panels."""

    def __post_init__(self) -> None:
        panels = {panel.metric: panel.label for figure in self.figures for panel in figure.panels}
        self.labels.update(panels | dict(self.headline))


def shown_metrics(headline: Headline, shown: Sequence[str]) -> Headline:
    """The metrics that ``metrics.shown`` asks for, under the headings of the headline where it has them."""
    headings = dict(headline)
    return [(name, headings.get(name, name)) for name in shown] or headline
