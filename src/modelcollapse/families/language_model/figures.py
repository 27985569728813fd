"""Figures of language-model chains.

Every function takes a data frame and a `FigureText` and returns a matplotlib `Figure` with title and
caption. Values that are missing or not finite are not drawn, and the caption says how many. Functions raise
`ValueError` for missing columns and when nothing is left to draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D

from modelcollapse.figures import curves, style
from modelcollapse.figures.axes import is_wide, logarithmic_values
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


REAL = -1
"""What stands in the column `generation` for real text."""
PAPER_GENERATIONS = (0, 1, 2, 3, 5, 9)
"""The generations Shumailov et al. 2024 draw."""

_PERPLEXITIES = ("test/perplexity", "validation/perplexity", "synthetic/reference_perplexity/median")
_ENTROPY = "synthetic/unigram_entropy"
_TAILS = {
    "synthetic/reference_perplexity/below_real_p01": "sequences below\n1st percentile of real",
    "synthetic/reference_perplexity/above_real_p99": "sequences above\n99th percentile of real",
}
_DIVERSITIES = {
    "synthetic/distinct_2": "distinct bigrams",
    "synthetic/vocabulary_kept": "vocabulary kept",
    _ENTROPY: "unigram entropy (nats)",
    "synthetic/repetition_rate": "repeated trigrams",
    **_TAILS,
}
_CONSTANTS = {
    "zero_shot/test/perplexity": ("zero-shot", "--"),
    "true/perplexity": ("true distribution", ":"),
}
_MOST_BINS_PER_DECADE = 25
_MOST_OUTSIDE = 0.005
_LEAST_CURVE_SHARE = 0.4
_BOX_HEIGHT = 2.7
_PAGE_HEIGHT = 9.5
_PAGE_LINES = 57
_MARGIN = 1.05
_GAP = 0.6
_MOST_CONTINUATIONS = 20


@style.paper()
def perplexity_by_generation(generations: pd.DataFrame, text: FigureText) -> Figure:
    """Perplexity on real text, and median reference perplexity of the synthetic text, against the generation.

    Columns: `generation`, `seed`, `test/perplexity`, `validation/perplexity`,
    `synthetic/reference_perplexity/median`; one row a generation and seed. With several seeds, thin lines
    are seeds, the thick line is their mean and the band one standard deviation (n - 1) around it. Optional
    constants, in whichever rows: `zero_shot/test/perplexity`, the pretrained model before any fit, dashed;
    `true/perplexity`, that of the distribution the data were drawn from, dotted. A constant that would
    flatten the curves is given as a number in the legend instead.
    """
    tables = curves.by_seed(generations, _PERPLEXITIES)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.2), layout="constrained")
    real, synthetic = figure.subplots(1, 2)
    curves.draw_seeds(real, tables["test/perplexity"], "test", text.regime)
    curves.draw_seeds(real, tables["validation/perplexity"], "validation", text.regime, hollow=True)
    curves.draw_seeds(synthetic, tables["synthetic/reference_perplexity/median"], "synthetic", text.regime)
    real.set_ylabel("perplexity on real text")
    synthetic.set_ylabel("reference perplexity of\nsynthetic text, median")
    _scale_perplexity(real)
    _scale_perplexity(synthetic)
    _draw_constants(real, generations)
    curves.legend_above(real, columns=2)
    style.label(figure, text, curves.caption(curves.seeds_note(tables), curves.dropped_note(generations[list(tables)])))
    return figure


@style.paper()
def reference_perplexity_histograms(
    sequences: pd.DataFrame, text: FigureText, generations: Sequence[int] = PAPER_GENERATIONS
) -> Figure:
    """Per-sequence perplexity of synthetic text under the reference model, a histogram for each generation.

    Columns: `generation`, `reference_perplexity`; one row a sequence, real validation text in rows of
    generation -1. Of `generations` those that exist are drawn. All share logarithmic bins between the powers of ten,
    at least two decades apart, beyond which no set has more than 0.5 % on either side; 10^0 to 10^2 in the paper;
    25 bins a decade, or 2 n^(1/3) of them (Rice's rule) where the smallest set has n < 2,000. A bar is a
    share of all sequences of its set that have a finite perplexity, those outside the axis included.
    """
    histograms = _histograms(sequences, generations)
    figure = Figure(figsize=(style.SINGLE_COLUMN, 3.0), layout="constrained")
    axes = figure.subplots()
    for generation, shares in histograms.shares.items():
        axes.stairs(
            shares,
            histograms.edges,
            label=_name(generation),
            color=histograms.colours[generation],
            linewidth=1.1,
        )
    axes.set_xscale("log")
    axes.set_xlim(histograms.edges[0], histograms.edges[-1])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_xlabel("perplexity under the reference model")
    axes.set_ylabel("share of sequences")
    curves.legend_above(axes, columns=7, title="generation")
    style.label(figure, text, histograms.caption())
    return figure


@style.paper()
def reference_perplexity_histograms_3d(
    sequences: pd.DataFrame, text: FigureText, generations: Sequence[int] = PAPER_GENERATIONS
) -> Figure:
    """`reference_perplexity_histograms` with the generations one behind the other, real text in front.

    Depth is the rank of the generation, not its number, so that neighbours are equally far apart.
    """
    histograms = _histograms(sequences, generations)
    figure = Figure(figsize=(style.SINGLE_COLUMN, _BOX_HEIGHT))
    style.label(figure, text, histograms.caption())
    above, below = style.margins(figure)
    height = above + below + _BOX_HEIGHT
    figure.set_figheight(height)
    place = (-0.075, below / height, 1.03, (_BOX_HEIGHT + 0.3) / height)
    axes = figure.add_axes(place, projection="3d", computed_zorder=False)
    assert isinstance(axes, Axes3D)
    for depth, (generation, shares) in enumerate(histograms.shares.items()):
        axes.add_collection3d(_slice(histograms, generation, shares, depth))
    _dress_3d(axes, histograms)
    return figure


@style.paper()
def diversity_by_generation(generations: pd.DataFrame, text: FigureText) -> Figure:
    """Diversity and tail shares of the synthetic text against the generation, a panel each.

    Columns: `generation`, `seed`, and after `synthetic/`: `distinct_2`, `vocabulary_kept`, `repetition_rate`,
    `unigram_entropy`, `reference_perplexity/below_real_p01`, `reference_perplexity/above_real_p99`. Seeds are
    drawn as in `perplexity_by_generation`.
    """
    tables = curves.by_seed(generations, tuple(_DIVERSITIES))
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 4.4), layout="constrained")
    for axes, (column, name) in zip(figure.subplots(2, 3).flat, _DIVERSITIES.items(), strict=True):
        curves.draw_seeds(axes, tables[column], name, text.regime)
        axes.set_ylabel(name)
        if column != _ENTROPY:
            axes.yaxis.set_major_formatter(_percent)
        if column in _TAILS:
            axes.axhline(0.01, color=style.GREY, linestyle=":", linewidth=1.0, zorder=1)
    real = "Dotted: real text, 1% by definition."
    dropped = curves.dropped_note(generations[list(tables)])
    style.label(figure, text, curves.caption(real, curves.seeds_note(tables), dropped))
    return figure


@style.paper()
def continuations_page(continuations: pd.DataFrame, text: FigureText) -> Figure:
    """Continuations of one prompt by every generation, on one page.

    Columns: `generation`, `prompt`, `continuation`; one row a generation, all of the same prompt, else
    `ValueError`. Line ends become ¶, other white space is folded, characters without a glyph become □, and
    what does not fit ends in an ellipsis. Where there are more generations than fit, evenly spread ones are
    shown and the caption says so.
    """
    curves.require(continuations, ("generation", "prompt", "continuation"))
    written = continuations.dropna(subset=["continuation"]).sort_values("generation")
    if written["prompt"].nunique() != 1 or written["generation"].duplicated().any():
        raise ValueError("a page of continuations takes one prompt and one continuation a generation")
    places = np.linspace(0, len(written) - 1, min(len(written), _MOST_CONTINUATIONS)).round().astype(int)
    shown = written.iloc[places]
    colours = style.generation_colours(shown["generation"])
    paragraphs = [_Paragraph("prompt", shown["prompt"].iloc[0], style.GREY)]
    paragraphs += [
        _Paragraph(f"generation {int(generation)}", continuation, colours[generation])
        for generation, continuation in zip(shown["generation"], shown["continuation"], strict=True)
    ]
    spread = f"{len(shown)} of {len(written)} generations shown." if len(shown) < len(written) else ""
    return _page(paragraphs, text, curves.caption(spread, curves.dropped_note(continuations[["continuation"]])))


@dataclass(frozen=True)
class _Paragraph:
    name: str
    body: str
    colour: Any


def _page(paragraphs: Sequence[_Paragraph], text: FigureText, caption: str) -> Figure:
    """Paragraphs below each other, names in the margin, each shortened to its share of the page."""
    width = style.DOUBLE_COLUMN - _MARGIN - 0.1
    wrapped = [style.wrap(style.printable(part.body, style.SERIF), width, style.SERIF) for part in paragraphs]
    most = _most_lines([len(lines) for lines in wrapped])
    bodies = [style.shorten(lines, most, width, style.SERIF) for lines in wrapped]
    figure = Figure(figsize=(style.DOUBLE_COLUMN, _PAGE_HEIGHT))
    style.label(figure, text, caption)
    above, below = style.margins(figure)
    height = above + below + style.LINE_HEIGHT * sum(len(body) + _GAP for body in bodies)
    figure.set_figheight(height)
    line, top, rule = style.LINE_HEIGHT / height, 1 - above / height, (_MARGIN - 0.1) / style.DOUBLE_COLUMN
    for part, body in zip(paragraphs, bodies, strict=True):
        figure.text(0.05 / style.DOUBLE_COLUMN, top, part.name, va="top")
        bottom = top - len(body) * line
        figure.add_artist(Line2D([rule, rule], [bottom, top], color=part.colour, linewidth=2))
        for place, words in enumerate(body):
            figure.text(
                _MARGIN / style.DOUBLE_COLUMN,
                top - place * line,
                words,
                va="top",
                fontproperties=style.SERIF,
                parse_math=False,
            )
        top -= (len(body) + _GAP) * line
    return figure


def _most_lines(lengths: Sequence[int]) -> int:
    """The most lines a paragraph may have for all of them to fit on the page, at least one."""
    lines = _PAGE_LINES - _GAP * len(lengths)
    fitting = (most for most in range(max(lengths), 1, -1) if sum(np.minimum(lengths, most)) <= lines)
    return next(fitting, 1)


@dataclass(frozen=True)
class _Histograms:
    """Histograms over shared bins, real text first, then generations in order."""

    edges: npt.NDArray[np.float64]
    shares: dict[int, npt.NDArray[np.float64]]
    outside: dict[int, float]
    dropped_note: str

    @property
    def colours(self) -> dict[int, Any]:
        return {REAL: style.GREY, **style.generation_colours(set(self.shares) - {REAL})}

    def caption(self) -> str:
        shares = ", ".join(f"{100 * share:.2f}" for share in self.outside.values())
        beyond = f"Outside the axis, in the order shown: {shares} %." if any(self.outside.values()) else ""
        return curves.caption(beyond, self.dropped_note)


def _histograms(sequences: pd.DataFrame, generations: Sequence[int]) -> _Histograms:
    curves.require(sequences, ("generation", "reference_perplexity"))
    wanted = sequences[sequences["generation"].isin([REAL, *generations])]
    finite = wanted[np.isfinite(wanted["reference_perplexity"].to_numpy(dtype=float))]
    samples = {
        int(generation): group.to_numpy(dtype=float)
        for generation, group in finite.groupby("generation")["reference_perplexity"]
    }
    if not samples:
        raise ValueError(f"no finite reference perplexity for real text or any of the generations {generations}")
    first, last = _decades(samples.values())
    rice = np.ceil(2 * min(sample.size for sample in samples.values()) ** (1 / 3))
    edges = np.geomspace(10**first, 10**last, (last - first) * min(_MOST_BINS_PER_DECADE, int(rice)) + 1)
    return _Histograms(
        edges,
        {owner: np.histogram(values, edges)[0] / values.size for owner, values in samples.items()},
        {owner: float(np.mean((values < edges[0]) | (values > edges[-1]))) for owner, values in samples.items()},
        curves.dropped_note(wanted[["reference_perplexity"]]),
    )


def _decades(samples: Iterable[npt.NDArray[np.float64]]) -> tuple[int, int]:
    """Powers of ten, at least two apart, beyond which no sample has more than 0.5 % of its mass on either side."""
    ends = [np.quantile(sample, [_MOST_OUTSIDE, 1 - _MOST_OUTSIDE], method="inverted_cdf") for sample in samples]
    last = max(2, int(np.ceil(np.log10(max(high for _, high in ends)))))
    first = max(0, int(np.floor(np.log10(min(low for low, _ in ends)))))
    return min(first, last - 2), last


def _slice(histograms: _Histograms, generation: int, shares: npt.NDArray[np.float64], depth: int) -> Poly3DCollection:
    """The filled outline of one histogram, standing at `depth`; nearer ones are painted later."""
    across = np.log10(np.repeat(histograms.edges, 2))
    height = np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])
    outline = np.column_stack([across, np.full_like(across, depth), height])
    colour = histograms.colours[generation]
    return Poly3DCollection(
        [outline],
        facecolors=[to_rgba(colour, 0.2 if generation == REAL else 0.55)],
        edgecolors=[colour],
        linewidths=0.7,
        zorder=len(histograms.shares) - depth + 1,
    )


def _dress_3d(axes: Axes3D, histograms: _Histograms) -> None:
    decades = range(round(np.log10(histograms.edges[0])), round(np.log10(histograms.edges[-1])) + 1)
    depths = range(len(histograms.shares))
    axes.set_xlim(decades[0], decades[-1])
    axes.set_xticks(decades, [f"$10^{{{decade}}}$" for decade in decades])
    axes.set_ylim(-0.5, len(depths) - 0.5)
    axes.set_yticks(depths, [_name(generation) for generation in histograms.shares])
    axes.set_zlim(0, max(shares.max() for shares in histograms.shares.values()))
    axes.zaxis.set_major_locator(MaxNLocator(4))
    axes.zaxis.set_major_formatter(_percent)
    axes.set_xlabel("reference perplexity")
    axes.set_ylabel("generation")
    axes.set_zlabel("share of sequences")
    axes.set_box_aspect((4, 4, 2.9), zoom=0.95)
    axes.view_init(elev=30, azim=-60)
    axes.tick_params(pad=-2)
    axes.tick_params(axis="z", pad=1)
    axes.xaxis.labelpad, axes.yaxis.labelpad, axes.zaxis.labelpad = -3, -4, 0
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("white")


def _name(generation: int) -> str:
    return "real" if generation == REAL else str(generation)


def _scale_perplexity(axes: Axes) -> None:
    """A logarithmic axis where the curves span more than a factor of ten."""
    heights = np.array(curves.extent(axes))
    if is_wide(heights):
        logarithmic_values(axes, heights)


def _draw_constants(axes: Axes, generations: pd.DataFrame) -> None:
    """Horizontal lines where the curves keep a good part of the axis, else numbers in the legend."""
    scale = np.log if axes.get_yscale() == "log" else np.asarray
    low, high = curves.extent(axes)
    for column, (name, dashes) in _CONSTANTS.items():
        values = generations[column].to_numpy(dtype=float) if column in generations else np.array([])
        if not np.isfinite(values).any():
            continue
        value = float(values[np.isfinite(values)].mean())
        appearance: dict[str, Any] = {"color": style.GREY, "linestyle": dashes, "linewidth": 1.0}
        span = scale(max(high, value)) - scale(min(low, value))
        if scale(high) - scale(low) >= _LEAST_CURVE_SHARE * span:
            axes.axhline(value, label=name, zorder=1, **appearance)
        else:
            arrow = "↑" if value > high else "↓"
            axes.add_line(Line2D([], [], label=f"{name}, {value:.3g} {arrow}", **appearance))
    axes.autoscale(axis="y")


def _percent(share: float, _position: float | None = None) -> str:
    return f"{100 * share:.4g}%"
