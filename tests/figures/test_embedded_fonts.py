"""PDFs embed one subset of each font."""

import re
import zlib
from io import BytesIO

import pytest
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure

from modelcollapse.figures import style


def embedded(folder, name, text):
    """The fonts that the PDF of a figure with a text embeds: one for Latin letters, and one for others if there are."""
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, text, fontproperties=style.SANS)
    page = style.save(figure, folder, name)[1].read_bytes()
    streams = [zlib.decompress(found) for found in re.findall(rb"FlateDecode.*?stream\r?\n(.*?)endstream", page, re.S)]
    return [stream for stream in streams if stream[:4] == b"\x00\x01\x00\x00"]


def test_figures_in_usual_characters_embed_the_same_subset(tmp_path, monkeypatch):
    made = []
    subset = Subsetter.subset
    monkeypatch.setattr(Subsetter, "subset", lambda self, font: made.append(font) or subset(self, font))
    first, second = (embedded(tmp_path, name, text) for name, text in (("one", "abc"), ("two", "xyz 123 ·")))
    assert first == second
    assert len(made) <= 1


@pytest.mark.parametrize("text", ["Ω", "perplexité", "ß and €"])
def test_other_characters_are_embedded_whatever_was_drawn_before(tmp_path, text):
    (usual,) = embedded(tmp_path, "usual", "abc")
    alone = embedded(tmp_path, "alone", text)
    glyphs = [len(TTFont(BytesIO(font)).getGlyphOrder()) for font in (usual, *alone)]
    assert min(glyphs[1:]) > glyphs[0]
    embedded(tmp_path, "others", "äöü ЖЯ")
    assert embedded(tmp_path, "again", text) == alone
