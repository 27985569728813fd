"""A figure that is drawn once for both files is the one that matplotlib writes for each."""

import re
import zlib

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from modelcollapse.figures import style

NEAR = 0.5
"""Points that a text may lie apart: its place is rounded to pixels of the PNG."""


def lines_and_texts():
    figure = Figure(figsize=(3.5, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 10, 1000], [1, 4, 9], "o--", label="curve")
    axes.fill_between([1, 10, 1000], [0, 2, 4], [2, 5, 9], alpha=0.2)
    axes.set(xscale="log", xlabel="generation", ylabel="$x^2$", title="rotated and not")
    axes.legend()
    return figure


def collections_and_clips():
    figure = Figure(figsize=(3.5, 2.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    points = np.linspace(0, 1, 7)
    left.scatter(points, points**2, s=[5 + 40 * point for point in points], c=points)
    left.vlines(points, 0, points, linewidth=2)
    inside = right.imshow(np.arange(12.0).reshape(3, 4))
    inside.set_clip_path(Circle((1.5, 1), 1.2, transform=right.transData))
    right.pcolormesh([0, 1, 2], [0, 1], [[1, 2]], alpha=0.5)
    return figure


def rasterized_points():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.plot([0.1, 0.5, 0.7], [0.2, 0.6, 0.4], ".", rasterized=True)
    axes.plot([0, 1], [0, 1])
    return figure


def apart(figure, folder):
    """The files that matplotlib writes, the places in both found for the PNG."""
    figure.savefig(folder / "apart.png", dpi=style.DOTS_PER_INCH)
    figure.set_layout_engine(None)
    figure.savefig(folder / "apart.pdf", dpi=style.DOTS_PER_INCH)
    return (folder / "apart.png").read_bytes(), (folder / "apart.pdf").read_bytes()


def streams(page):
    """Content of the page, and of what it draws repeatedly; images and fonts are others."""
    found = [zlib.decompress(each) for each in re.findall(rb"FlateDecode.*?stream\r?\n(.*?)endstream", page, re.S)]
    return [each.split() for each in found if re.search(rb" (l|re|Do|Tf)\s", each) and each[:4] != b"\x00\x01\x00\x00"]


def image_sizes(page):
    return re.findall(rb"/(?:Width|Height) (\d+)", page)


@pytest.mark.parametrize("draw", [lines_and_texts, collections_and_clips, rasterized_points])
def test_both_files_are_those_of_matplotlib(tmp_path, draw):
    with style.paper():
        expected_picture, expected_page = apart(draw(), tmp_path)
        picture, page = (path.read_bytes() for path in style.save(draw(), tmp_path, "both"))
    assert picture == expected_picture
    ours, theirs = streams(page), streams(expected_page)
    assert [len(each) for each in ours] == [len(each) for each in theirs]
    for mine, expected in zip(ours, theirs, strict=True):
        assert all(is_near(*pair) for pair in zip(mine, expected, strict=True))
    if draw is rasterized_points:
        assert image_sizes(page) == image_sizes(expected_page) != []


def is_near(mine, expected):
    """Whether two words of a page are the same, or numbers that are nearly the same."""
    try:
        return abs(float(mine) - float(expected)) <= NEAR
    except ValueError:
        return mine == expected
