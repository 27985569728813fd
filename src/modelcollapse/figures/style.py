"""Style of all figures: sizes, colours, title, caption, and saving.

Figures are built on matplotlib's object-oriented interface alone. Functions that draw are decorated with
`paper()`, which puts matplotlib's own defaults and this style in force while they run, whatever a user's
matplotlibrc says, and then restores what was.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

from modelcollapse.figures.embedded_fonts import fonts_subset_once

SINGLE_COLUMN = 3.5
"""Width of a figure in one column of a two-column page, inches."""
DOUBLE_COLUMN = 7.2
"""Width of a figure over both columns, inches."""
LINE_HEIGHT = 0.15
"""From one line of text to the next, inches."""
DOTS_PER_INCH = 200
"""Resolution of the PNG."""
GREY = "0.4"
"""Real data, captions and everything else that is not a generation."""
# What is not named would be that of a user's matplotlibrc.
_PLAIN: dict[str, Any] = {
    "style": "normal",
    "variant": "normal",
    "weight": "normal",
    "stretch": "normal",
    "math_fontfamily": "dejavusans",
}
SANS = FontProperties(family="DejaVu Sans", size=8, **_PLAIN)
SERIF = FontProperties(family="DejaVu Serif", size=8, **_PLAIN)

# Okabe & Ito 2008, "Color Universal Design", without sky blue and the yellow that vanishes on paper.
BLACK, ORANGE, GREEN = "#000000", "#E69F00", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

THEORY: dict[str, Any] = {"color": BLACK, "linewidth": 3.0, "alpha": 0.35, "solid_capstyle": "butt"}
"""How a closed form is drawn under what is measured: wide and pale, so that it shows beside a line that lies on it."""

RegimeLine = tuple[str, str]
# Relatives share a colour and differ in dashes.
REGIME_LINES: dict[str, RegimeLine] = {
    "real": (BLACK, "-"),
    "replace": (VERMILLION, "-"),
    "grown_replace": (VERMILLION, "--"),
    "preserve": (BLUE, "-"),
    "fresh": (BLUE, "--"),
    "accumulate": (GREEN, "-"),
    "accumulate_subsample": (GREEN, "--"),
    "augment": (ORANGE, "-"),
    "selected": (ORANGE, "--"),
    "general": (BLACK, "--"),
    "older": (PURPLE, "-"),
    "golden_ratio": (PURPLE, "--"),
}
"""Colour and line style of the package's regimes, the same in all figures."""
OTHER_COLOURS = (
    "#882255",
    "#117733",
    "#332288",
    "#999933",
    "#44AA99",
    "#AA4499",
    "#661100",
    "#6699CC",
    "#DDCC77",
    "#777777",
)
"""Of a second palette (Tol 2021, muted), for regimes that are not the package's."""
OTHER_LINES = tuple((colour, dashes) for dashes in ("-", "--", "-.", ":") for colour in OTHER_COLOURS)

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "figure.titlesize": 9,
    "figure.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "legend.borderpad": 0.0,
    "legend.borderaxespad": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class FigureText:
    """Where the numbers of a figure come from: model, regime, seeds, counts."""

    model: str
    """Name of the model, as in `OPT-125m`."""
    regime: str
    """Name of the regime, with its parameters if it has any, as in `preserve(0.1)`."""
    seeds: str
    """The seeds drawn, as in `0-4`."""
    n: str
    """How many of what a number rests on, as in `36,718 sequences a generation`."""

    def title(self) -> str:
        """Two lines: model and regime; seeds and n."""
        seeds = "seed" if self.seeds.strip().isdigit() else "seeds"
        return f"{self.model}, {self.regime}\n{seeds} {self.seeds}, n = {self.n}"


@contextmanager
def paper() -> Iterator[None]:
    """Draw in the style of this module, as a decorator or in a with statement."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def label(figure: Figure, text: FigureText, caption: str) -> None:
    """Put title and caption on a figure, flush left and wrapped to its width.

    A layout engine makes room for both. Without one they keep to their edges, however high the figure
    becomes, and take what `margins` says.
    """
    inches = figure.get_figwidth() - 0.1
    title_font = FontProperties(family=SANS.get_family(), size=9, **_PLAIN)
    title = [line for part in text.title().split("\n") for line in wrap(part, inches, title_font)]
    left = 0.05 / figure.get_figwidth()
    above = figure.suptitle("\n".join(title), x=left, ha="left", parse_math=False)
    below = figure.supxlabel("\n".join(wrap(caption, inches, SANS)), x=left, ha="left", color=GREY)
    below.set_parse_math(False)
    if figure.get_layout_engine() is None:
        for line, edge, inset in ((above, 1.0, -0.05), (below, 0.0, 0.05)):
            line.set_y(edge)
            line.set_transform(figure.transFigure + ScaledTranslation(0, inset, figure.dpi_scale_trans))


def margins(figure: Figure) -> tuple[float, float]:
    """Heights in inches that title and caption take, with the space around them."""
    title, caption = figure.get_suptitle().splitlines(), figure.get_supxlabel().splitlines()
    return 0.12 + LINE_HEIGHT * len(title), 0.08 + LINE_HEIGHT * len(caption)


def wrap(text: str, inches: float, font: FontProperties) -> list[str]:
    """Break text into lines no wider than `inches` as set in `font`, by measured width.

    Words wider than a line are broken too.
    """
    lines, space = [""], _width("n n", font) - _width("nn", font)
    room = inches
    for word in text.split():
        room -= space + _width(word, font)
        if room >= 0 and lines[-1]:
            lines[-1] += f" {word}"
            continue
        *whole, rest = _chunks(word, inches, font)
        lines += [*whole, rest]
        room = inches - _width(rest, font)
    return lines[1:] or [""]


def shorten(lines: Sequence[str], most: int, inches: float, font: FontProperties) -> list[str]:
    """At most so many lines; where some are left out, the last ends in an ellipsis within `inches`."""
    if len(lines) <= most:
        return list(lines)
    last = lines[most - 1]
    while last and _width(f"{last} …", font) > inches:
        last = last.rpartition(" ")[0] or last[:-1]
    return [*lines[: most - 1], f"{last} …"]


def generation_colours(generations: Iterable[int]) -> dict[int, tuple[float, float, float, float]]:
    """A colour for each generation, evenly along viridis from dark to light without its pale yellow end."""
    ordered = sorted(set(generations))
    colours = matplotlib.colormaps["viridis"]
    step = 0.8 / max(1, len(ordered) - 1)
    return {generation: colours(place * step) for place, generation in enumerate(ordered)}


def regime_line(regime: str) -> RegimeLine:
    """Colour and line style of a regime by itself, see :func:`regime_lines`."""
    return regime_lines([regime])[regime]


def regime_lines(regimes: Sequence[str]) -> dict[str, RegimeLine]:
    """Colour and line style of each regime, parameters in brackets ignored.

    Those of this package have their own everywhere. Others begin at a place of a second palette that follows from their
    name, so that most look alike in all figures, and go on to the next that is free; there are 40.
    """
    found = {regime: REGIME_LINES[name] for regime in regimes if (name := _without_parameters(regime)) in REGIME_LINES}
    others: dict[str, RegimeLine] = {}
    for name in dict.fromkeys(_without_parameters(regime) for regime in regimes):
        if name not in REGIME_LINES:
            first = crc32(name.encode()) % len(OTHER_LINES)
            order = [*OTHER_LINES[first:], *OTHER_LINES[:first]]
            others[name] = next((line for line in order if line not in others.values()), order[0])
    return found | {regime: others[_without_parameters(regime)] for regime in regimes if regime not in found}


def _without_parameters(regime: str) -> str:
    return regime.partition("(")[0].strip()


@paper()
def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.pdf into `folder`, made if it is missing, and return their paths.

    Equal figures give equal bytes: no date is written. The PDF embeds its fonts as outlines one can search
    and edit. Where everything is placed is found once, for the PNG, whose resolution is the higher one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = folder / f"{name}.png", folder / f"{name}.pdf"
    figure.savefig(picture, dpi=DOTS_PER_INCH)
    engine = figure.get_layout_engine()
    figure.set_layout_engine(None)
    with fonts_subset_once():
        figure.savefig(page, metadata={"CreationDate": None})
    if engine is not None:
        figure.set_layout_engine(engine)
    return [picture, page]


@paper()
def rehearse() -> None:
    """Draw a figure and keep nothing of it, so that fonts and all else that matplotlib loads for one are there."""
    figure = Figure(figsize=(SINGLE_COLUMN, 1.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 1000], [0, 1], label="curve")
    axes.set_xscale("log")
    axes.legend()
    label(figure, FigureText("model", "regime", "0", "1"), "caption")
    with fonts_subset_once():
        for kind in ("png", "pdf"):
            figure.savefig(BytesIO(), format=kind)


def printable(text: str, font: FontProperties) -> str:
    """Line ends as ¶, other white space folded, and □ for characters without a glyph in `font`."""
    folded = " ".join(text.replace("\n", " ¶ ").split())
    glyphs = get_font(findfont(font)).get_charmap()
    return "".join(character if ord(character) in glyphs else "□" for character in folded)


@lru_cache(maxsize=10_000)
def _width(text: str, font: FontProperties) -> float:
    """Width of one line of text in inches."""
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _chunks(word: str, inches: float, font: FontProperties) -> Iterator[str]:
    """The word, broken where it is wider than `inches`; each chunk has at least one character."""
    while _width(word, font) > inches and len(word) > 1:
        fitting = _longest_fitting(word, inches, font)
        yield word[:fitting]
        word = word[fitting:]
    yield word


def _longest_fitting(word: str, inches: float, font: FontProperties) -> int:
    """How many leading characters fit, at least one and not all."""

    def width(count: int) -> float:
        return _width(word[:count], font)

    return max(1, bisect_right(range(1, len(word)), inches, key=width))
