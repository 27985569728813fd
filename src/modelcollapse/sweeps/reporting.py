"""Reports on sweeps: at the end of one, and on any that were run."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.console import shown_path
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.record.identity import IMAGE_SUFFIXES
from modelcollapse.record.tracking import TrackingSettings, with_environment
from modelcollapse.record.wandb_view import (
    MOST_ROWS,
    add_files,
    already_shown,
    started_run,
)

if TYPE_CHECKING:
    import pandas as pd

    from modelcollapse.report import ReportFiles


def report_sweeps(folders: Sequence[Path], target: Path) -> ReportFiles:
    """Write the report on sweeps into ``target`` and print where it is."""
    from modelcollapse.report import write_sweep_report

    files = write_sweep_report(folders, target)
    print(f"report  {shown_path(files.html)}", flush=True)
    return files


logger = logging.getLogger(__name__)

MOST_COMPARED = 20
"""Generations of which W&B is sent the paired differences, which are many."""


def show_report(
    settings: TrackingSettings, group: str, chains: Sequence[str], folder: Path, report: ReportFiles
) -> None:
    """Show the report on a sweep as the run ``report`` in the group of its chains.

    Shown are the means over seeds as curves ``<metric>/<group of chains>`` against ``generation``, the headline table,
    the paired differences, the figures, and an artifact with the page and the tables, which are whole: of long chains
    curves and differences are of some generations. A failure of W&B is logged as a warning.

    Args:
        settings: What to show and where; nothing is shown where ``kind`` is ``none``.
        group: Name of the group where the settings name none: the experiment.
        chains: Ids of the chains; a report on the same chains is the same run.
        folder: Where the report lies; W&B's files go there unless the settings say otherwise.
        report: What was written.
    """
    if settings.kind == "none":
        return
    try:
        _show(settings, group, sorted(chains), folder.resolve(), report)
    except Exception as error:
        logger.warning("W&B does not show the report; its own files are not affected: %s", error)


def _show(settings: TrackingSettings, group: str, chains: Sequence[str], folder: Path, report: ReportFiles) -> None:
    group = with_environment(settings)[0].group or group
    name = f"report-{sha256(json.dumps([group, *chains]).encode()).hexdigest()[:12]}"
    run = started_run(
        # Not the name of the chains, nor their job type.
        replace(settings, name="report", job_type="report"),
        folder,
        id=name,
        name="report",
        group=group,
        job_type="report",
        tags=("report",),
        config={"chains": list(chains)},
    )
    if run is None:
        return
    import wandb

    try:
        run.define_metric("*", step_metric="generation")
        shown = already_shown(run, "generation")
        for row in curves(report):
            if row["generation"] > shown:
                run.log(row)
        tables = {"headline": report.headline, "differences": _thinned(report.differences, MOST_COMPARED)}
        images = [path for path in report.figures if path.suffix.lower() in IMAGE_SUFFIXES]
        run.log({f"tables/{title}": wandb.Table(dataframe=table) for title, table in tables.items()})
        run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in images})
        artifact = wandb.Artifact(name, type="report")
        add_files(artifact, folder, (report.html, *report.summary), copied=False)
        run.log_artifact(artifact)
    finally:
        run.finish()


def curves(report: ReportFiles) -> list[dict[str, Any]]:
    """A row for each generation shown: ``generation``, then ``<metric>/<group of chains>`` with the mean over seeds."""
    aggregated = _thinned(report.aggregated, MOST_ROWS)
    means = aggregated[aggregated["over"] == "seeds"]
    named = means.assign(curve=means["metric"].astype(str) + "/" + means["group"].astype(str))
    wide = named.pivot(index="generation", columns="curve", values="mean").sort_index()
    rows = wide.to_dict("index")
    return [
        {"generation": generation, **{str(name): mean for name, mean in row.items() if mean == mean}}
        for generation, row in rows.items()
    ]


def _thinned(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of at most so many generations."""
    shown = shown_generations(int(table["generation"].max()), most) if len(table) else ()
    return table[table["generation"].isin(shown)]
