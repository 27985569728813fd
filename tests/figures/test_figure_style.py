import re
import zlib

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from modelcollapse.figures import style

TEXT = style.FigureText("OPT-125m", "preserve(0.1)", "0-4", "36,718 sequences")


@style.paper()
def line_figure():
    figure = Figure(figsize=(style.SINGLE_COLUMN, 2.5), layout="constrained")
    figure.subplots().plot([1, 2, 3], [1, 4, 9], label="$x^2$")
    style.label(figure, TEXT, "A caption, 5 $ of it.")
    return figure


def test_title_names_model_regime_seeds_and_n():
    assert TEXT.title() == "OPT-125m, preserve(0.1)\nseeds 0-4, n = 36,718 sequences"
    assert "\nseed 3," in style.FigureText("m", "r", "3", "1").title()


def test_save_writes_a_picture_of_the_stated_size_and_a_page(tmp_path):
    picture, page = style.save(line_figure(), tmp_path / "new" / "folder", "line")
    pixels = imread(picture)
    assert pixels.shape[:2] == (2.5 * style.DOTS_PER_INCH, style.SINGLE_COLUMN * style.DOTS_PER_INCH)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10
    assert page.read_bytes().startswith(b"%PDF")


def test_a_figure_that_was_saved_can_be_changed_and_saved_again(tmp_path):
    figure = Figure(figsize=(style.SINGLE_COLUMN, 2.0), layout="constrained")
    axes = figure.subplots()
    style.save(figure, tmp_path, "first")
    before = axes.get_position()
    axes.set_ylabel("a name\nof two lines")
    style.save(figure, tmp_path, "second")
    assert axes.get_position().x0 > before.x0, "room was made for the name"


def test_page_embeds_truetype_fonts(tmp_path):
    page = style.save(line_figure(), tmp_path, "line")[1].read_bytes()
    objects = page + b"".join(
        zlib.decompress(stream) for stream in re.findall(rb"FlateDecode.*?stream\r?\n(.*?)endstream", page, re.S)
    )
    assert b"/FontFile2" in objects
    assert b"/Type3" not in objects


def test_equal_figures_give_equal_bytes(tmp_path):
    first, again = line_figure(), line_figure()
    paths = [style.save(figure, tmp_path / str(place), "line") for place, figure in enumerate((first, again, first))]
    contents = [tuple(path.read_bytes() for path in pair) for pair in paths]
    assert contents[0] == contents[1] == contents[2]


def test_a_users_matplotlibrc_changes_nothing_and_is_left_alone(tmp_path):
    plain = [path.read_bytes() for path in style.save(line_figure(), tmp_path / "plain", "line")]
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "pdf.fonttype": 3}):
        before = dict(matplotlib.rcParams)
        theirs = [path.read_bytes() for path in style.save(line_figure(), tmp_path / "theirs", "line")]
        assert dict(matplotlib.rcParams) == before
    assert theirs == plain


@given(st.text(st.sampled_from("abc mW."), max_size=120), st.floats(0.3, 3))
def test_wrapped_lines_are_no_wider_than_asked_and_lose_nothing(text, inches):
    lines = style.wrap(text, inches, style.SERIF)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(drawn_width(line) <= inches * 1.02 for line in lines)


@given(st.integers(1, 4))
def test_shortened_text_ends_in_an_ellipsis_within_the_width(most):
    lines = style.wrap("the tower of the church " * 20, 1.5, style.SERIF)
    short = style.shorten(lines, most, 1.5, style.SERIF)
    assert len(short) == most
    assert short[:-1] == lines[: most - 1]
    assert short[-1].endswith(" …")
    assert drawn_width(short[-1]) <= 1.5 * 1.02
    assert style.shorten(lines, len(lines), 1.5, style.SERIF) == lines


def drawn_width(line):
    figure = Figure(dpi=600)
    artist = figure.text(0, 0, line, fontproperties=style.SERIF)
    return artist.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width / 600


def test_printable_shows_line_ends_and_missing_glyphs():
    assert style.printable("a\n\nb\t c 日", style.SERIF) == "a ¶ ¶ b c □"


def test_generation_colours_grow_lighter_and_stay_visible_on_white():
    colours = style.generation_colours([9, 0, 1, 5])
    assert list(colours) == [0, 1, 5, 9]
    luminance = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue, _ in colours.values()]
    assert luminance == sorted(luminance)
    assert luminance[-1] < 0.75
    assert len(style.generation_colours([4])) == 1


def test_a_regime_keeps_its_line_whatever_its_parameters():
    assert style.regime_line("preserve(0.1)") == style.regime_line("preserve") == (style.BLUE, "-")
    assert len(set(style.REGIME_LINES.values())) == len(style.REGIME_LINES)


def test_regimes_of_ones_own_have_a_line_each_that_is_none_of_the_packages():
    names = [f"own_{number}" for number in range(30)]
    lines = style.regime_lines(["replace", *names, "own_3(k=2)"])
    assert len({lines[name] for name in names}) == 30
    assert not set(style.REGIME_LINES.values()) & {lines[name] for name in names}
    assert lines["own_3(k=2)"] == lines["own_3"]
    assert style.regime_line("own_3") == style.regime_lines(["replace", "own_3"])["own_3"]


@pytest.mark.parametrize("caption", ["", "word " * 60])
def test_without_layout_engine_title_and_caption_stay_inside_at_any_height(caption):
    with style.paper():
        figure = Figure(figsize=(style.SINGLE_COLUMN, 2))
        style.label(figure, TEXT, caption)
        figure.set_figheight(8)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    above, below = style.margins(figure)
    title, note = (text.get_window_extent(canvas.get_renderer()) for text in figure.texts)
    assert (8 - above) * figure.dpi <= title.y0 <= title.y1 <= 8 * figure.dpi
    assert not caption or 0 <= note.y0 <= note.y1 <= below * figure.dpi
    assert 0 <= title.x0 <= title.x1 <= style.SINGLE_COLUMN * figure.dpi
