"""How a group looks, the same in every figure and chart of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Literal, cast

from matplotlib.colors import to_hex

from modelcollapse.figures import style
from modelcollapse.report.groups import Group

Dashes = Literal["-", "--", ":", "-."]
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
VEGA_DASHES = {"-": [], "--": [6, 3], ":": [2, 2], "-.": [7, 2, 2, 2]}
"""The same patterns in points, as Vega wants them."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PALETTE = (style.VERMILLION, style.BLUE, style.GREEN, style.ORANGE, style.PURPLE, style.BLACK, *style.OTHER_COLOURS)


@dataclass(frozen=True)
class Appearance:
    """Colour, dashes and marker of a group."""

    colour: str
    """As ``#rrggbb``."""
    dashes: Dashes
    marker: str


def appearances(groups: Sequence[Group]) -> dict[str, Appearance]:
    """Label -> appearance.

    Several regimes have the colours that they have everywhere, and what else differs has dashes and markers of its own.
    Groups of one regime differ by colour: along viridis where a number distinguishes them, else by the palette.
    """
    regimes = list(dict.fromkeys(group.regime for group in groups))
    if len(regimes) > 1:
        return _by_regime(groups)
    if _is_numeric(groups):
        order = sorted(range(len(groups)), key=lambda place: _number(groups[place]))
        colours = style.generation_colours(range(len(groups)))
        shades = {place: to_hex(colours[rank]) for rank, place in enumerate(order)}
        return {group.label: Appearance(shades[place], "-", "o") for place, group in enumerate(groups)}
    if len(groups) == 1:
        colour, dashes = style.regime_line(regimes[0])
        return {groups[0].label: Appearance(to_hex(colour), cast(Dashes, dashes), "o")}
    styles = cycle((colour, dashes) for dashes in DASHES for colour in PALETTE)
    return {
        group.label: Appearance(to_hex(colour), dashes, MARKERS[DASHES.index(dashes)])
        for group, (colour, dashes) in zip(groups, styles, strict=False)
    }


def _by_regime(groups: Sequence[Group]) -> dict[str, Appearance]:
    rest = list(dict.fromkeys(_rest(group) for group in groups))
    lines = style.regime_lines([group.regime for group in groups])
    colours = {regime: colour for regime, (colour, _) in lines.items()} if len(rest) == 1 else _one_each(lines)
    found = {}
    for group in groups:
        place = rest.index(_rest(group))
        dashes = cast(Dashes, lines[group.regime][1]) if len(rest) == 1 else DASHES[place % len(DASHES)]
        marker = MARKERS[(place + place // len(DASHES)) % len(MARKERS)]
        found[group.label] = Appearance(to_hex(colours[group.regime]), dashes, marker)
    return found


def _one_each(lines: Mapping[str, style.RegimeLine]) -> dict[str, str]:
    """A colour of its own for each regime, where dashes distinguish something else: relatives would look alike."""
    free = [colour for colour in style.OTHER_COLOURS if colour not in {taken for taken, _ in lines.values()}]
    colours: dict[str, str] = {}
    for regime, (colour, _) in lines.items():
        colours[regime] = free.pop(0) if colour in colours.values() and free else colour
    return colours


def _rest(group: Group) -> tuple[str, ...]:
    """What distinguishes the group, beside its regime."""
    return tuple(f"{name}={value}" for name, value in group.coordinates.items() if name != "regime")


def _is_numeric(groups: Sequence[Group]) -> bool:
    coordinates = [group.coordinates for group in groups]
    return len(groups) > 1 and all(
        len(one) == 1 and all(isinstance(value, (int, float)) for value in one.values()) for one in coordinates
    )


def _number(group: Group) -> float:
    (value,) = group.coordinates.values()
    return float(value)
