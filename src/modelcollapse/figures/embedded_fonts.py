"""Fonts that the PDFs of a process embed: one subset a font, made once.

Matplotlib makes a subset of each font for every PDF anew, a quarter of the time of a report of many figures. Figures of
this package are written in few characters, so all of them embed the same subset.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from io import BytesIO
from typing import Any

from matplotlib.backends import _backend_pdf_ps
from matplotlib.font_manager import get_font

CHARACTERS = "".join(map(chr, range(0x20, 0x7F))) + "·×−–…¶□"
"""What figures are written in; a figure with other characters embeds a subset with these and its own."""
FONTS_KEPT = 32
"""Subsets that are kept, for as many fonts or sets of characters."""

# Matplotlib offers no setting for it: tests/figures/test_embedded_fonts.py holds for the versions of constraints.txt.
_get_glyphs_subset = getattr(_backend_pdf_ps, "get_glyphs_subset", None)
_font_as_file = getattr(_backend_pdf_ps, "font_as_file", None)


@contextmanager
def fonts_subset_once() -> Iterator[None]:
    """PDFs that are written within embed the subsets that are at hand."""
    if _get_glyphs_subset is None or _font_as_file is None:
        yield
        return
    _backend_pdf_ps.get_glyphs_subset = _kept_subset  # type: ignore[assignment]
    _backend_pdf_ps.font_as_file = _kept_file
    try:
        yield
    finally:
        _backend_pdf_ps.get_glyphs_subset = _get_glyphs_subset
        _backend_pdf_ps.font_as_file = _font_as_file


def _kept_subset(font: Any, glyphs: Iterable[int]) -> AbstractContextManager[Any]:
    return nullcontext(_subset(font, frozenset(glyphs) | _usual_glyphs(font)))


@lru_cache(maxsize=FONTS_KEPT)
def _usual_glyphs(font: Any) -> frozenset[int]:
    glyphs = get_font(font).get_charmap()
    return frozenset(glyphs[ord(character)] for character in CHARACTERS if ord(character) in glyphs)


@lru_cache(maxsize=FONTS_KEPT)
def _subset(font: Any, glyphs: frozenset[int]) -> Any:
    """The subset with these glyphs: its content follows from them alone, not from what was drawn before."""
    assert _get_glyphs_subset is not None
    return _get_glyphs_subset(font, set(glyphs)).__enter__()


def _kept_file(font: Any) -> BytesIO:
    return BytesIO(_file_content(font))


@lru_cache(maxsize=FONTS_KEPT)
def _file_content(font: Any) -> bytes:
    """The file of a subset, which takes as long as to make it."""
    assert _font_as_file is not None
    content: bytes = _font_as_file(font).getvalue()
    return content
