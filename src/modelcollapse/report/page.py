"""The page of a report: one file that opens from the disk, with all that it needs inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

import modelcollapse
from modelcollapse.families.presentation import Distribution, Presentation
from modelcollapse.figures.axes import is_wide
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.report import charts, states
from modelcollapse.report.appearance import Appearance
from modelcollapse.report.collapse import CATASTROPHE
from modelcollapse.report.groups import Group, value_text
from modelcollapse.report.histograms import histograms_chart, pooled_histograms
from modelcollapse.report.states import ChainState
from modelcollapse.report.statistics import FEWEST
from modelcollapse.report.tables import REPLICATES
from modelcollapse.selections.report import CONFUSION_MEANING

TEMPLATES = Path(__file__).parent / "templates"
MOST_UNNAMED_DISTRIBUTIONS = 4


@dataclass(frozen=True)
class PageContent:
    """The content of the page."""

    title: str
    lead: str
    groups: Sequence[Group]
    """Those that have finished a generation."""
    all_groups: Sequence[Group]
    presentations: Mapping[str, Presentation]
    """By family."""
    looks: Mapping[str, Appearance]
    shown: pd.DataFrame
    """A row a group, generation and metric."""
    points: pd.DataFrame
    """Values of single seeds that are too few for an interval."""
    expected: pd.DataFrame
    """Closed forms."""
    names: Mapping[str, str]
    """Metric -> what it is called, the most important first."""
    headline: pd.DataFrame
    differences: pd.DataFrame
    profile: pd.DataFrame
    """The collapse profile: a row a definition and metric, a column a group."""
    confusion: pd.DataFrame
    """A row a group whose right candidates are known; empty where there is none."""
    kept_shares: Sequence[Path]
    """Pictures of metrics against the share of candidates that is kept."""
    states: Sequence[ChainState]
    """All chains that were asked for."""
    unfinished: Sequence[str]
    files: Sequence[str]
    """Names of the files beside the page."""


def page(content: PageContent) -> str:
    """The page as text. What models or users wrote is escaped, and the page may run no script but its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    vega, start = vega_script(), (TEMPLATES / "report.js").read_text(encoding="utf-8")
    drawn = _drawn(content)
    return environment.get_template("report.html").render(
        title=content.title,
        lead=content.lead,
        sections=_sections(content, drawn),
        unfinished=content.unfinished,
        finished=f"{sum(state.finished for state in content.states)} of {len(content.states)}",
        headline=_headline_cells(content),
        differences=_cells(content.differences) if len(content.differences) else None,
        profile=_cells(content.profile) if len(content.profile) else None,
        catastrophe=f"{CATASTROPHE:g}",
        confusion=_cells(content.confusion) if len(content.confusion) else None,
        confusion_meaning=CONFUSION_MEANING,
        kept_shares=[embedded(path) for path in content.kept_shares],
        spread=_spread(content),
        settings=_cells(_settings(content.all_groups)),
        chains=states.chain_rows(content.all_groups, content.states),
        versions=states.version_rows(content.all_groups),
        commands=states.command_lines(content.all_groups),
        replicates=(content.shown["over"] == REPLICATES).any(),
        fewest=FEWEST,
        has_points=len(content.points) > 0,
        files=content.files,
        version=modelcollapse.__version__,
        vega=vega,
        start=start,
        script_hashes=[_script_hash(vega), _script_hash(start)],
        **drawn,
    )


def _drawn(content: PageContent) -> dict[str, Any]:
    """Charts, texts and pictures."""
    names = _names_that_fit(content)
    log = _log_at_first(content)
    curves = charts.curves_chart(content.shown, content.points, content.expected, names, content.looks, log=log)
    histograms = pooled_histograms(content.groups, _distributions(content))
    last = int(content.shown["generation"].max())
    return {
        "curves_chart": curves.to_dict(),
        "has_theory": len(content.expected) > 0,
        "thinned": f"{last + 1:,}" if last >= charts.MOST_GENERATIONS else "",
        "most_generations": charts.MOST_GENERATIONS,
        "metrics_left_out": len(content.names) - len(names),
        "histograms_chart": histograms_chart(histograms, content.looks).to_dict() if histograms else None,
        "has_real": any(histogram.real is not None for histogram in histograms),
        "continuations": continuations(content.groups),
        "pictures": pictures(content.groups, content.presentations),
    }


def _names_that_fit(content: PageContent) -> dict[str, str]:
    """The metrics of headline and panels, and of the others as many as the page has room for."""
    counts = charts.thinned(content.shown)["metric"].astype(str).value_counts()
    certain = {name for one in content.presentations.values() for name in one.labels}
    fitting, rows = {}, 0
    for name, label in content.names.items():
        rows += int(counts.get(name, 0))
        if name in certain or rows <= charts.MOST_ROWS:
            fitting[name] = label
    return fitting


def _log_at_first(content: PageContent) -> tuple[bool, bool]:
    """Whether generations and values begin logarithmic: as the first panel of the first figure has them."""
    figures = [figure for presentation in content.presentations.values() for figure in presentation.figures]
    if not figures:
        return False, False
    panel = figures[0].panels[0]
    if panel.log != "wide":
        return figures[0].log_generations, panel.log
    means = content.shown.loc[content.shown["metric"] == panel.metric, "mean"].to_numpy(dtype=float)
    return figures[0].log_generations, is_wide(means)


def _distributions(content: PageContent) -> list[Distribution]:
    named = [one for presentation in content.presentations.values() for one in presentation.distributions]
    if named:
        return named
    histograms = content.groups[0].chains[0].histograms()
    names = sorted({histogram.name for histogram in histograms})[:MOST_UNNAMED_DISTRIBUTIONS]
    return [Distribution(name, name) for name in names]


def _sections(content: PageContent, drawn: Mapping[str, Any]) -> list[tuple[str, str]]:
    present = {
        "headline": ("Last generation", True),
        "curves": ("Curves", True),
        "profile": ("Collapse profile", len(content.profile) > 0),
        "differences": ("Differences", len(content.differences) > 0),
        "selections": ("Selections", len(content.confusion) > 0 or len(content.kept_shares) > 0),
        "distributions": ("Distributions", drawn["histograms_chart"]),
        "continuations": ("Texts", drawn["continuations"]),
        "pictures": ("Pictures", drawn["pictures"]),
        "provenance": ("Provenance", True),
        "method": ("Method", True),
    }
    return [(anchor, name) for anchor, (name, is_there) in present.items() if is_there]


def _spread(content: PageContent) -> str:
    kinds = set(content.shown["over"].astype(str))
    return "seeds" if REPLICATES not in kinds else "the replicates of all seeds, of medians over seeds"


def _settings(groups: Sequence[Group]) -> pd.DataFrame:
    names = states.differing_columns(groups)
    rows = [
        {
            "group": group.label,
            **{name: value_text(group.columns.get(name)) for name in names},
            "seeds": len(group.chains),
        }
        for group in groups
    ]
    return pd.DataFrame(rows)


def _headline_cells(content: PageContent) -> dict[str, Any]:
    """The headline, with generations and seeds as "2 of 3" where more were asked for."""
    cells = _cells(content.headline)
    for row, group in zip(cells["rows"], content.groups, strict=True):
        own = [state for state in content.states if state.group == group.label]
        last = max((state.wanted - 1 for state in own if state.wanted is not None), default=0)
        row[1], row[2] = _of(row[1], last), _of(row[2], len(own))
    return cells


def _of(number: str, asked: int) -> str:
    return number if int(number) >= asked else f"{number} of {asked}"


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(table.columns), "rows": table.astype(str).to_numpy().tolist()}


@lru_cache(maxsize=1)
def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, of the version that Altair writes for."""
    import altair
    import vl_convert

    version = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    # Without a snippet of ours the bundle gives vegaEmbed to the page, which its types do not know.
    script: str = vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]
    # Nothing in a script may look like its end.
    return script.replace("</script", "<\\/script")


def _script_hash(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


SAMPLES_FILE = "samples.jsonl"
MOST_PROMPTS = 8
MOST_GENERATIONS = 10
MOST_CHARACTERS = 1200
PICTURE_WIDTH = 1100
_GREYS = 64


@dataclass(frozen=True)
class Continuations:
    """Continuations of one prompt by every group, each from its first seed."""

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
