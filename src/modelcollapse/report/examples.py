"""What the models wrote and drew: continuations side by side, and pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from modelcollapse.models.presentation import Presentation
from modelcollapse.report.groups import Group
from modelcollapse.thinning import shown_generations

SAMPLES_FILE = "samples.jsonl"
MOST_PROMPTS = 8
MOST_GENERATIONS = 10
MOST_CHARACTERS = 1200
PICTURE_WIDTH = 1100
_GREYS = 64


@dataclass(frozen=True)
class Continuations:
    """What every group wrote after one prompt, each by its first seed."""

    prompt: str
    columns: Sequence[str]
    """Group and seed."""
    rows: Sequence[tuple[int, Sequence[str]]]
    """(Generation, continuation of each column); the empty text where there is none."""


def continuations(groups: Sequence[Group]) -> list[Continuations]:
    """The first prompts, each over at most MOST_GENERATIONS generations; untrusted text."""
    written: dict[str, dict[str, dict[int, str]]] = {}
    for group in groups:
        for chain in group.chains[:1]:
            name = f"{group.label}, seed {chain.seed}"
            for line in chain.lines(SAMPLES_FILE):
                if "prompt" in line and "continuation" in line:
                    of_prompt = written.setdefault(str(line["prompt"]), {})
                    of_prompt.setdefault(name, {})[line["generation"]] = _shortened(str(line["continuation"]))
    return [_side_by_side(prompt, found) for prompt, found in list(written.items())[:MOST_PROMPTS]]


def _side_by_side(prompt: str, found: Mapping[str, Mapping[int, str]]) -> Continuations:
    generations = sorted({generation for of_group in found.values() for generation in of_group})
    wanted = shown_generations(generations[-1], MOST_GENERATIONS)
    rows = [
        (generation, [of_group.get(generation, "") for of_group in found.values()])
        for generation in generations
        if generation in wanted
    ]
    return Continuations(prompt, list(found), rows)


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    caption: str
    data: str
    """A ``data:`` address."""


def pictures(groups: Sequence[Group], presentations: Mapping[str, Presentation]) -> list[tuple[str, list[Picture]]]:
    """(What it shows, a picture of each group's first seed that has one), of the figures of single runs."""
    found = []
    for family, presentation in presentations.items():
        for name, meaning in presentation.pictures:
            shown = [_picture(group, name) for group in groups if group.family == family]
            if present := [picture for picture in shown if picture is not None]:
                found.append((meaning, present))
    return found


def _picture(group: Group, name: str) -> Picture | None:
    for chain in group.chains:
        path = chain.folder / "figures" / f"{name}.png"
        if path.is_file():
            return Picture(f"{group.label}, seed {chain.seed}", embedded(path))
    return None


def embedded(path: Path) -> str:
    """A PNG as an address that holds it, made smaller: at most PICTURE_WIDTH wide, of a palette of few colours."""
    from PIL import Image

    with Image.open(path) as image:
        drawn = image.convert("RGB")
        if drawn.width > PICTURE_WIDTH:
            height = round(drawn.height * PICTURE_WIDTH / drawn.width)
            drawn = drawn.resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
        target = BytesIO()
        drawn.quantize(_GREYS).save(target, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(target.getvalue()).decode()
