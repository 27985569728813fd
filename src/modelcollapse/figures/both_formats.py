"""One drawing of a figure for two files: what goes onto the PNG goes onto the page of the PDF as well.

Most of the time that a figure takes is matplotlib's, which walks through its ticks and texts to find out what is to be
drawn where. It is the same for both files, so the walk is done once: with a renderer of pixels that repeats all that it
draws, scaled, on the renderer of the PDF.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import matplotlib.image
import numpy as np
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_pdf import PdfFile, RendererPdf
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, IdentityTransform, Transform, TransformedBbox, TransformedPath

POINTS_PER_INCH = 72


def save_both(figure: Figure, picture: Path | BinaryIO, page: Path | BinaryIO, dots_per_inch: int) -> None:
    """Write a figure as a PNG of that resolution, and as a PDF; no date is written."""
    before = figure.dpi
    # Where everything is placed is found for the PNG, whose resolution is the higher one.
    figure.set_dpi(dots_per_inch)
    width, height = figure.get_size_inches()
    file = PdfFile(page, metadata={"CreationDate": None})
    try:
        file.newPage(width, height)
        pdf = RendererPdf(file, dots_per_inch, height, width)
        renderer = RendererBoth(width * dots_per_inch, height * dots_per_inch, dots_per_inch, pdf)
        figure.draw(renderer)
        pdf.finalize()
        file.finalize()
    finally:
        file.close()
        figure.set_dpi(before)
    matplotlib.image.imsave(picture, renderer.buffer_rgba(), format="png", origin="upper", dpi=dots_per_inch)


class RendererBoth(RendererAgg):
    """Draws pixels, and repeats each drawing on a page of a PDF of the same size.

    Artists that ask to be rasterized are pixels on the page too, in one image.
    """

    def __init__(self, width: float, height: float, dpi: float, pdf: RendererPdf) -> None:
        self._pdf = pdf
        self._scale = Affine2D().scale(POINTS_PER_INCH / dpi)
        self._other: Any = pdf
        """What each drawing is repeated on: the page, or pixels that become an image of it."""
        self._to_other: Transform = self._scale
        self._clips: dict[int, tuple[Any, Any]] = {}
        super().__init__(width, height, dpi)

    def _update_methods(self) -> None:
        """Draw with the methods below, which matplotlib's renderer hides behind those of its pixels."""
        self.copy_from_bbox = self._renderer.copy_from_bbox

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:  # noqa: N803
        """Draw a path."""
        super().draw_path(gc, path, transform, rgbFace)
        self._other.draw_path(self._same(gc), path, transform + self._to_other, rgbFace)

    def draw_markers(
        self,
        gc: Any,
        marker_path: Any,
        marker_trans: Any,
        path: Any,
        trans: Any,
        rgbFace: Any = None,  # noqa: N803
    ) -> None:
        """Draw a marker at each point of a path."""
        self._renderer.draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        scaled = (marker_path, marker_trans + self._to_other, path, trans + self._to_other)
        self._other.draw_markers(self._same(gc), *scaled, rgbFace)

    def draw_path_collection(
        self,
        gc: Any,
        master_transform: Any,
        paths: Any,
        all_transforms: Any,
        offsets: Any,
        offset_trans: Any,
        *more: Any,
        **named: Any,
    ) -> None:
        """Draw paths at offsets."""
        self._renderer.draw_path_collection(
            gc, master_transform, paths, all_transforms, offsets, offset_trans, *more, **named
        )
        master, placed = (each + self._to_other for each in (master_transform, offset_trans))
        self._other.draw_path_collection(
            self._same(gc), master.frozen(), paths, all_transforms, offsets, placed, *more, **named
        )

    def draw_quad_mesh(self, gc: Any, master_transform: Any, *more: Any) -> None:
        """Draw a mesh; ``more`` begins with width, height, coordinates, offsets and the transform of these."""
        self._renderer.draw_quad_mesh(gc, master_transform, *more)
        *mesh, offset_trans = more[:5]
        scaled = ((master_transform + self._to_other).frozen(), *mesh, offset_trans + self._to_other, *more[5:])
        self._other.draw_quad_mesh(self._same(gc), *scaled)

    def draw_gouraud_triangles(self, gc: Any, points: Any, colors: Any, trans: Any) -> None:
        """Draw triangles whose colours run into each other."""
        self._renderer.draw_gouraud_triangles(gc, points, colors, trans)
        self._other.draw_gouraud_triangles(self._same(gc), points, colors, trans + self._to_other)

    def draw_image(self, gc: Any, x: float, y: float, image: Any, transform: Any = None) -> None:
        """Draw an image of as many pixels as it covers."""
        self._renderer.draw_image(gc, x, y, image)
        self._other.draw_image(self._same(gc), *self._to_other.transform((x, y)), image)

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None
    ) -> None:
        """Draw a text, at a height that is counted from the top in pixels and from the bottom on the page."""
        super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        height = y if self._other.flipy() else self.height - y
        self._other.draw_text(self._same(gc), *self._to_other.transform((x, height)), s, prop, angle, ismath, mtext)

    def start_rasterizing(self) -> None:
        """Repeat what follows as pixels."""
        self._other, self._to_other = RendererAgg(self.width, self.height, self.dpi), IdentityTransform()
        self._clips.clear()

    def stop_rasterizing(self) -> None:
        """Put the pixels onto the page as an image."""
        pixels = np.asarray(self._other.buffer_rgba())
        self._other, self._to_other = self._pdf, self._scale
        self._clips.clear()
        rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
        if rows.size:
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            x, y = self._scale.transform((left, self.height - bottom))
            self._pdf.draw_image(self._pdf.new_gc(), x, y, pixels[top:bottom, left:right][::-1])

    def _same(self, gc: GraphicsContextBase) -> Any:
        """The properties that are drawn with, for the other renderer; line widths and dashes are in points for both."""
        same = self._other.new_gc()
        same.copy_properties(gc)
        same._cliprect, same._clippath = self._clip(same._cliprect), self._clip(same._clippath)
        return same

    def _clip(self, clip: Any) -> Any:
        """What is drawn within, scaled; the same object for the same, by which the PDF knows that nothing changes."""
        if clip is None or self._other is not self._pdf:
            return clip
        if id(clip) not in self._clips:
            kind: Any = _ScaledPath if isinstance(clip, TransformedPath) else TransformedBbox
            self._clips[id(clip)] = clip, kind(clip, self._scale)
        return self._clips[id(clip)][1]


class _ScaledPath:
    """A path to clip by, with what is asked of one."""

    def __init__(self, path: Any, scale: Transform) -> None:
        self._path, self._scale = path, scale

    def get_transformed_path_and_affine(self) -> tuple[Any, Transform]:
        """The path, and what is still to be done to its points."""
        path, affine = self._path.get_transformed_path_and_affine()
        return path, affine + self._scale
