"""Writes the report of a sweep: reads the chains, computes statistics, writes tables, figures and the page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from modelcollapse.errors import count_of
from modelcollapse.families import presentation_of
from modelcollapse.families.presentation import Presentation
from modelcollapse.figures.style import save
from modelcollapse.record.claiming import claimed_by_report
from modelcollapse.report.appearance import appearances
from modelcollapse.report.chains import NothingToReport, ReportChain, read_chains
from modelcollapse.report.collapse import collapse_profile, profile_cells
from modelcollapse.report.confusion import confusion_table
from modelcollapse.report.differences import (
    differences_table,
    headline_metrics,
    headline_table,
    metric_names,
    paired_differences,
    pairs_of,
    unfinished,
)
from modelcollapse.report.figures import drawn_figures
from modelcollapse.report.groups import Cube, Group, groups_of
from modelcollapse.report.kept_shares import KEPT_SHARES, kept_share_figures
from modelcollapse.report.page import PageContent, page
from modelcollapse.report.states import ChainState, states_of
from modelcollapse.report.tables import expectations, seed_points, shown_statistics, statistics_table, summary_table
from modelcollapse.store.claims import mark_files
from modelcollapse.store.files import delete, delete_abandoned, temporary_beside, whole_file, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TABLES = ("summary", "statistics", "paired_differences", "collapse_profile")
REPORT_FILES = ("report.html", *(f"{table}.{suffix}" for table in TABLES for suffix in ("parquet", "csv")), "figures")
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class ReportFiles:
    """The files of a report, and the tables that are shown elsewhere too."""

    html: Path
    """The page."""
    summary: tuple[Path, ...]
    """Every table, as Parquet and as CSV: :data:`TABLES`."""
    figures: tuple[Path, ...]
    """PNG and PDF of every figure."""
    headline: pd.DataFrame
    """A row a group as people read it: ``group``, ``generation``, ``seeds``, ``mean [low, high]`` of each metric."""
    aggregated: pd.DataFrame
    """The statistics, a row a group, generation, metric and what the spread is over."""
    differences: pd.DataFrame
    """The paired differences, a row a pair of groups, generation and metric."""
    profile: pd.DataFrame
    """The collapse profile, a row a group, definition and metric."""
    unfinished: tuple[str, ...]
    """A sentence for every chain that was asked for and is not finished, and every group that lacks seeds."""


def write_sweep_report(folders: Sequence[Path], target: Path) -> ReportFiles:
    """Report on a sweep, or put several beside each other.

    Args:
        folders: A folder with run folders at or below it; several are compared, each under a name of its own.
        target: Where the report is written; made if missing, its files replaced one by one.

    Raises:
        UserError: There is nothing to report, a record is damaged, or the folder is another's or in use.
    """
    with claimed_by_report(target, REPORT_FILES) as earlier:
        return _write(folders, target, earlier)


def _write(folders: Sequence[Path], target: Path, earlier: Sequence[str]) -> ReportFiles:
    """Write the report into a claimed folder; ``earlier`` are the files of the one before."""
    every_group = groups_of(_chains(folders))
    groups = [group for group in every_group if group.seeds]
    presentations = {group.family: presentation_of(group.family) for group in groups}
    cubes = {group.label: Cube.of(group) for group in groups}
    pairs = pairs_of(groups)
    statistics = statistics_table(groups, cubes, presentations)
    points, differences = seed_points(groups, cubes), paired_differences(pairs, cubes, presentations)
    shown, expected = _from_first(shown_statistics(statistics), presentations), expectations(groups, presentations)
    metrics, looks = headline_metrics(shown, presentations, groups), appearances(groups)
    headline = headline_table(groups, shown, points, metrics)
    profile = collapse_profile(groups, cubes, presentations)
    states = states_of(folders, every_group)
    lacking = unfinished(every_group, states)
    written = [
        # The summary is by far the largest, and nothing else is made of it.
        *write_table(summary_table(groups), target, "summary"),
        *write_table(statistics, target, "statistics"),
        *write_table(differences, target, "paired_differences"),
        *write_table(profile, target, "collapse_profile"),
    ]
    drawn = drawn_figures(groups, shown, points, expected, presentations, looks)
    of_shares = kept_share_figures(groups, shown, points, presentations, metrics)
    figures = write_figures(chain(drawn, of_shares), target / "figures", {target / name for name in earlier})
    content = PageContent(
        title=_title(folders, groups),
        lead=_lead(every_group, states),
        groups=groups,
        all_groups=every_group,
        presentations=presentations,
        looks=looks,
        shown=shown,
        points=points,
        expected=expected,
        names=metric_names(shown, presentations),
        headline=headline,
        differences=differences_table(pairs, differences, cubes, metrics),
        profile=profile_cells(profile),
        confusion=confusion_table(groups, shown),
        kept_shares=[path for path in figures if path.suffix == ".png" and path.stem.endswith(KEPT_SHARES)],
        states=states,
        unfinished=lacking,
        files=[*(path.name for path in written), "figures/"],
    )
    html = write_whole(target / "report.html", page(content).encode())
    mark_files(target, "report", (path.relative_to(target).as_posix() for path in (html, *written, *figures)))
    return ReportFiles(html, tuple(written), tuple(figures), headline, statistics, differences, profile, tuple(lacking))


def _chains(folders: Sequence[Path]) -> list[ReportChain]:
    try:
        return read_chains(folders)
    except NothingToReport as error:
        raise NothingToReport("\n  ".join([str(error), *unfinished([], states_of(folders, []))])) from error


def _from_first(shown: pd.DataFrame, presentations: dict[str, Presentation]) -> pd.DataFrame:
    """Without the generations before the first that a metric's panel draws."""
    panels = [panel for one in presentations.values() for figure in one.figures for panel in figure.panels]
    since = {panel.metric: panel.since for panel in panels if panel.since}
    first = shown["metric"].astype(str).map(since).fillna(0)
    return shown[shown["generation"] >= first]


def _title(folders: Sequence[Path], groups: Sequence[Group]) -> str:
    experiments = list(dict.fromkeys(str(group.columns["experiment"]) for group in groups))
    return " beside ".join(experiments) if len(experiments) < 4 else f"{len(experiments)} experiments"


def _lead(groups: Sequence[Group], states: Sequence[ChainState]) -> str:
    models = ", ".join(dict.fromkeys(str(group.columns["model"]) for group in groups))
    count, finished = len(states), sum(state.finished for state in states)
    chains = count_of(count, "chain")
    counted = f"{chains} in {len(groups)} groups" if len(groups) > 1 else chains
    return f"{models}: {counted}, {'all' if finished == count else f'{finished} of them'} finished."


def write_table(table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write a table as ``<name>.parquet`` and ``<name>.csv``; NaN is ``nan`` and infinities ``inf`` in the latter."""
    import pyarrow as pa
    from pyarrow import csv

    parquet, text = folder / f"{name}.parquet", folder / f"{name}.csv"
    with whole_file(parquet) as file:
        table.to_parquet(file, index=False)
    whole = pa.Table.from_pandas(table, preserve_index=False)
    plain = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in whole.schema]
    schema = pa.schema(list(zip(whole.schema.names, plain, strict=True)))
    with (
        whole_file(text) as file,
        csv.CSVWriter(file, schema, write_options=csv.WriteOptions(quoting_style="needed")) as writer,
    ):
        # Words are written out part by part: all of them at once are many times the table.
        for batch in whole.to_batches(_ROWS_AT_ONCE):
            writer.write(batch.cast(schema))
    return [parquet, text]


def write_figures(figures: Iterable[tuple[str, Figure]], folder: Path, earlier: Collection[Path] = ()) -> list[Path]:
    """Write each figure as PNG and PDF; those of ``earlier`` in the folder that are not written again go away."""
    folder.mkdir(parents=True, exist_ok=True)
    delete_abandoned(folder.parent, folder.name)
    temporary = temporary_beside(folder)
    written = []
    try:
        temporary.mkdir()
        for name, figure in figures:
            for path in save(figure, temporary, name):
                written.append(path.replace(folder / path.name))
    finally:
        delete(temporary)
    for path in earlier:
        if path.parent == folder and path not in written:
            path.unlink(missing_ok=True)
    return written
