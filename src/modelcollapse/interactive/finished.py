"""What is done with finished runs: measuring them, comparing two, writing models out of the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.command_line import called_as
from modelcollapse.config.composing import python_errors
from modelcollapse.errors import UserError
from modelcollapse.interactive.display import html_of
from modelcollapse.interactive.isolation import short_tracebacks, unchanged_libraries, unchanged_process
from modelcollapse.interactive.overrides import overrides_of
from modelcollapse.interactive.running import call_of
from modelcollapse.interactive.runs import Run
from modelcollapse.interactive.sweeping import Sweep, load
from modelcollapse.record.comparison import Comparison, compare_runs

if TYPE_CHECKING:
    from modelcollapse.commands.export import Exported

Place = str | os.PathLike[str] | Run | Sweep
"""A run or sweep, or its folder."""


@short_tracebacks
def measure(run: Place, *overrides: str, refit: bool = False, **settings: Any) -> Run | Sweep:
    """Compute metrics of a finished run, or of all finished runs of a sweep, from what the store holds.

    Records, tables, figures and the sweep's report are brought up to date; nothing is fitted or generated again::

        mc.measure(run, metrics={"add": ["types_per_token"]})

    Args:
        run: a run or sweep, or its folder.
        *overrides: ``metrics.add=[NAME,...]``, ``metrics.remove=[...]``, ``metrics.set=full``, settings of execution;
            without any, what the records lack under the present versions of their metrics.
        refit: fit models again that a metric needs and the store no longer holds.
        **settings: further overrides by name.

    Returns:
        The run or sweep.

    Raises:
        UserError: something cannot be measured; nothing was written.
    """
    from modelcollapse.console import Announcements
    from modelcollapse.sweeps.measuring import measure_runs, runs_at

    folder = _folder(run)
    with unchanged_process(), python_errors():
        words = overrides_of(overrides, settings)
        finished = [each for each in runs_at(folder) if each.is_finished]
        if not finished:
            raise UserError(f"{folder}: no run is finished; the call of a run finishes it, with other metrics too")
        with unchanged_libraries(), called_as(call_of("measure", words)):
            list(measure_runs(finished, words, Announcements(), refit=refit))
        if (report := folder / "report").is_dir():
            from modelcollapse.report import write_sweep_report

            write_sweep_report([folder], report)
    return run if isinstance(run, Run | Sweep) else load(folder)


class ShownComparison(Comparison):
    """A comparison that shows itself."""

    def __repr__(self) -> str:
        return self._shown()[1].rstrip()

    def _repr_html_(self) -> str:
        return self._shown()[0]

    def _shown(self) -> tuple[str, str]:
        from rich.console import Group

        from modelcollapse.commands.compare import comparison_parts

        return html_of(Group(*comparison_parts(self)))


@short_tracebacks
def compare(first: Place, second: Place, *, store: str | os.PathLike[str] | None = None) -> ShownComparison:
    """In what two runs differ: settings, code, libraries, execution, and since which generation and stage the results.

    Args:
        first: a run, or its folder.
        second: another one.
        store: where the artifacts of both are; by default the store that each was run with.

    Raises UserError where a folder is no run folder, or its record is damaged.
    """
    found = compare_runs(_folder(first), _folder(second), None if store is None else Path(store))
    return ShownComparison(**vars(found))


@short_tracebacks
def export(
    run: Place,
    generation: int,
    folder: str | os.PathLike[str],
    *,
    role: str = "model",
    store: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write what a generation of a run has as ``model`` or ``synthetic`` to a folder, as others read it.

    Args:
        run: a run, or its folder.
        generation: its number.
        folder: appears whole or not at all; must not exist, or be empty.
        role: ``model``, ``synthetic``, or another role that ``provenance.jsonl`` names.
        store: where the run's artifacts are, where that is not the store that it was run with.

    Raises:
        UserError: the run has no such generation or role, the artifact is gone, the folder is in use.
        Damaged: the artifact is not what was published.
    """
    from modelcollapse.commands.export import export_generation

    place = None if store is None else Path(store)
    return export_generation(_folder(run), generation, Path(folder), role=role, store=place)


def _folder(place: Place) -> Path:
    return place.folder if isinstance(place, Run | Sweep) else Path(place).expanduser()
