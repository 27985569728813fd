"""Draws the pictures of docs/architecture.md from the code: ``python tools/architecture_pictures.py``.

``layers.svg`` shows the order of pyproject.toml's contract, and which part imports which. ``generations.svg`` shows the
artifacts that a chain declares. A test compares both with the code.
"""

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "docs" / "images"
PACKAGE = "modelcollapse"

STYLE = """
<style>
  text { font-family: "DejaVu Sans", Verdana, sans-serif; font-size: 12px; fill: #222 }
  .name { font-family: "DejaVu Sans Mono", Menlo, monospace; font-weight: bold }
  .small { font-size: 10.5px; fill: #555 }
  .line { fill: none; stroke: #666; stroke-width: 1.3; marker-end: url(#arrow) }
</style>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
  <path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker></defs>
"""


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """An SVG on white, so that it can be read on a dark page too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img">\n<title>{escape(title)}</title>{STYLE}'
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, kind: str = "", more: str = "") -> str:
    """A line of text; ``kind`` is its class."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{more}>{escape(words)}</text>'


# ---- layers -----------------------------------------------------------------------------------------------------

ROW, CELL, NAMES, MATRIX, TOP = 20, 18, 16, 140, 104


def layers() -> list[list[str]]:
    """The layers of the contract, the highest first; each lists its parts."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return [layer.split(" | ") for layer in project["tool"]["importlinter"]["contracts"][0]["layers"]]


def imports() -> dict[str, set[str]]:
    """Part -> the parts that it imports, those that only a type checker sees left out."""
    import grimp

    sys.path.insert(0, str(REPOSITORY / "src"))
    graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    found: dict[str, set[str]] = {part: set() for layer in layers() for part in layer}
    for importer in graph.modules - {PACKAGE}:
        part = importer.split(".")[1]
        others = (name.split(".")[1] for name in graph.find_modules_directly_imported_by(importer) if name != PACKAGE)
        found[part] |= {other for other in others if other != part}
    return found


def layers_picture() -> str:
    """Parts in the order of the contract, and a matrix: a dot where a row's part imports a column's."""
    order = [(part, level) for level, layer in enumerate(layers()) for part in layer]
    columns = {part: column for column, (part, _) in enumerate(order)}
    height, width = TOP + ROW * len(order) + 12, MATRIX + CELL * len(order) + 40
    parts = []
    for part, column in columns.items():
        x = MATRIX + CELL * (column + 0.5) + 4
        parts.append(text(x, TOP - 10, part, "small", f' transform="rotate(-60 {x:g} {TOP - 10})"'))
    for row, ((part, level), imported) in enumerate(zip(order, map(imports().get, columns), strict=True)):
        y = TOP + ROW * row
        shade = ("#eef3fb", "#fff")[level % 2]
        parts.append(f'<rect x="8" y="{y}" width="{MATRIX + CELL * len(order)}" height="{ROW}" fill="{shade}"/>')
        parts.append(text(NAMES, y + 14, part, "name"))
        x = MATRIX + CELL * (row + 0.5)
        parts.append(f'<rect x="{x - 4:g}" y="{y + ROW / 2 - 4:g}" width="8" height="8" fill="#c3cbd8"/>')
        for other in sorted(imported or (), key=columns.__getitem__):
            x = MATRIX + CELL * (columns[other] + 0.5)
            parts.append(f'<circle cx="{x:g}" cy="{y + ROW / 2:g}" r="5" fill="#3f51b5"/>')
    return picture(width, height, "Which part of modelcollapse imports which", parts)


# ---- artifacts of a chain ---------------------------------------------------------------------------------------

CHAIN = ("regime=preserve", "generations=1", "trainer.accelerator=cpu")
"""The quickstart with a tenth of real data."""
COLOURS = {"input": "#e4e4e4", "fit": "#cfe0f7", "synthesis": "#fbdcc0", "measurement": "#e3f1dc"}
BOX, PITCH, LEFT = (152, 46), 366, 190
PLACES = {
    "model": (0, 96),
    "scores": (178, 62),
    "continuations": (178, 122),
    "synthetic": (0, 222),
    "measures": (178, 286),
}
INPUTS = {"tokenizer": (16, 96), "real": (16, 222)}


@dataclass(frozen=True)
class Box:
    """A drawn artifact."""

    x: float
    y: float
    name: str
    work: str
    parents: Mapping[str, str]
    """Role -> name of the box."""

    def drawn(self, unseen: Sequence[str]) -> str:
        """The box, and the parents to which no arrow is drawn."""
        width, height = BOX
        words = [text(self.x + 8, self.y + 18, self.name.replace("_", " "), "name")]
        if unseen:
            words.append(text(self.x + 8, self.y + 36, "+ " + ", ".join(unseen), "small"))
        colour = COLOURS[self.work]
        return f'<rect x="{self.x}" y="{self.y}" width="{width}" height="{height}" rx="5" fill="{colour}"/>' + "".join(
            words
        )


def boxes() -> dict[str, Box]:
    """The artifacts that the chain declares, by name."""
    sys.path.insert(0, str(REPOSITORY / "src"))
    from hydra import compose, initialize_config_dir

    from modelcollapse.chain import chain_generations
    from modelcollapse.config.composing import HYDRA_VERSION_BASE, settings_of
    from modelcollapse.families import family_for
    from modelcollapse.training.trainer import Execution

    with initialize_config_dir(str(REPOSITORY / "conf"), version_base=HYDRA_VERSION_BASE):
        settings, _ = settings_of(compose("train", overrides=list(CHAIN)))
    family = family_for(settings, Execution(settings.trainer, None))
    placed = [(role, *INPUTS[role], artifact) for role, artifact in family.inputs().items()]
    for generation in chain_generations(settings, family):
        for role, artifact in generation.artifacts.items():
            x, y = PLACES[role]
            placed.append((f"{role}_{generation.number}", LEFT + PITCH * generation.number + x, y, artifact))
    names = {artifact: name for name, _, _, artifact in placed}
    return {
        name: Box(x, y, name, artifact.work, {role: names[parent] for role, parent in artifact.parents.items()})
        for name, x, y, artifact in placed
    }


def path(child: Box, parent: Box) -> str | None:
    """The arrow from a parent to its child; None where it would cross half of the picture."""
    width, height = BOX
    if child.name.startswith("measures") and not parent.name.startswith("synthetic"):
        return None
    if parent.x == child.x:
        x = parent.x + width / 2
        return f"M{x:g},{parent.y + height} V{child.y - 2}"
    if child.name.startswith("model") and parent.name.startswith("synthetic"):
        x, y, end = parent.x + width, parent.y + 14, child.y + height / 2
        return f"M{x},{y} H{child.x - 50} C{child.x - 20},{y} {child.x - 36},{end:g} {child.x - 2},{end:g}"
    if child.name.startswith("model") and parent.name.startswith("model"):
        x, top = parent.x + width / 2, 36
        return f"M{x:g},{parent.y} V{top} H{child.x + width / 2:g} V{child.y - 2}"
    if child.x - parent.x in (PLACES["scores"][0], LEFT - INPUTS["real"][0]):
        start, end = parent.y + height / 2, child.y + height / 2
        return f"M{parent.x + width},{start:g} L{child.x - 2},{end:g}"
    return None


def generations_picture() -> str:
    """The artifacts of two generations, an arrow from each to what is built from it."""
    found = boxes()
    parts = [
        text(LEFT + PITCH * number, 24, f"generation {number}", "name") for number in range(len(found) // len(PLACES))
    ]
    lines = []
    for box in found.values():
        arrows = {parent: path(box, found[parent]) for parent in box.parents.values()}
        lines += [f'<path class="line" d="{arrow}"/>' for arrow in arrows.values() if arrow]
        parts.append(box.drawn([parent.replace("_", " ") for parent, arrow in arrows.items() if not arrow]))
    legend = [
        f'<rect x="{LEFT + 120 * number}" y="352" width="14" height="14" rx="3" fill="{colour}"/>'
        + text(LEFT + 120 * number + 20, 363, work, "small")
        for number, (work, colour) in enumerate(COLOURS.items())
    ]
    width = LEFT + PITCH * 2 - 20
    return picture(width, 380, "The artifacts of two generations", [*lines, *parts, *legend])


PICTURES = {"layers.svg": layers_picture, "generations.svg": generations_picture}


def main() -> int:
    """Write the pictures."""
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
