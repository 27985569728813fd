"""Runs grids of chains from Python, and opens those that were run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

from modelcollapse.commands.run import no_empty_folder
from modelcollapse.config.composing import python_errors
from modelcollapse.config.explaining import explained
from modelcollapse.config.extensions import use_config_dirs
from modelcollapse.config.hydra_internals import missing_folders
from modelcollapse.console import shown_path
from modelcollapse.errors import UserError, count_of
from modelcollapse.interactive.display import ChainDisplay, Output, html_of, in_notebook
from modelcollapse.interactive.isolation import short_tracebacks, unchanged_libraries, unchanged_process
from modelcollapse.interactive.members import importing_members, processes_of
from modelcollapse.interactive.overrides import overrides_of
from modelcollapse.interactive.running import call_of, composed, run_in
from modelcollapse.interactive.runs import Figures, Run
from modelcollapse.record.claiming import claimed
from modelcollapse.record.run_state import run_error
from modelcollapse.record.run_tables import run_folders
from modelcollapse.record.sweep_folder import GRID_FILE, ChainProcess, PlannedChain, SweepFolder, now
from modelcollapse.settings import SettingsError
from modelcollapse.store.claims import process_began
from modelcollapse.sweeps.points import Grid, InvalidPoints, Point, read_grid
from modelcollapse.sweeps.session import refuse_overlaps

if TYPE_CHECKING:
    import pandas as pd

    from modelcollapse.sweeps.watching import ChainSeen, Display

STATISTICS = ("metric", "generation", "group", "mean", "low", "high", "n")
MOST_CHAINS_SHOWN = 60


class ChainsFailed(UserError):
    """Chains of a sweep failed; those that did not are finished and reported on, in :attr:`sweep`."""

    def __init__(self, message: str, sweep: Sweep) -> None:
        super().__init__(message)
        self.sweep = sweep


@short_tracebacks
def sweep(*overrides: str, folder: str | os.PathLike[str] | None = None, jobs: int = 1, **settings: Any) -> Sweep:
    """Run every combination of several values, what chains have in common once, and report on them.

    Overrides are those of ``sweep.py``: as text, or as ``name=value``, where a list, tuple, range or array stands for
    several values, each to be run. A setting that is itself a list is given as text, ``"metrics.add=[mauve]"``, or as a
    list of lists. Seeds are 0, 1 and 2 unless given::

        sweep = mc.sweep("experiment=quickstart", regime=["replace", "accumulate"], seed=range(5), jobs=2)
        sweep.statistics        # metric, generation, group, mean, low, high, n
        sweep.report            # the page, in the notebook

    Args:
        *overrides: as typed after ``sweep.py``.
        folder: the sweep's folder; by default ``multirun/<date>/<time>``.
        jobs: chains that run at once. With 1 they run in this process, one after the other; with more each is a process
            of its own, which imports the files of what is registered here.
        **settings: further overrides by name.

    Returns:
        The sweep, with the record of every chain.

    Raises:
        SettingsError: a combination is not allowed; ``problems`` holds everything that is wrong. Nothing was run.
        ChainsFailed: chains failed; its ``sweep`` holds the others.
        KeyboardInterrupt: the call was interrupted; what was finished is kept.
    """
    with unchanged_process(), python_errors():
        words = overrides_of(overrides, settings, several=True)
        grid = grid_of(words)
        wanted = Path(grid.sweep_folder if folder is None else folder).absolute()
        refuse_overlaps(grid, wanted)
        with no_empty_folder(missing_folders(wanted)), claimed(wanted, "sweep", by_time=folder is None) as place:
            _Session(grid, SweepFolder(place), jobs, call_of("sweep", words)).run()
        return Sweep(place)


def grid_of(overrides: Sequence[str]) -> Grid:
    """The grid that the overrides expand to. Raises SettingsError with the problems of all its points."""
    words = use_config_dirs(overrides)
    problems = [f"{word}: a flag of the command line, which is of no use here" for word in words if word[:1] == "-"]
    problems += [
        f"{word}: chains run in processes of this machine (jobs=2); launchers are for sweep.py"
        for word in words
        if word.startswith(("hydra/launcher", "hydra/sweeper", "hydra.launcher", "+hydra/"))
    ]
    if problems:
        raise SettingsError(problems)
    try:
        return read_grid(words)
    except InvalidPoints as error:
        raise SettingsError(error.problems) from error
    except HydraException as error:
        raise SettingsError([explained(error)]) from error


class _Session:
    """A sweep while it runs.

    Args:
        grid: its points.
        folder: where it writes.
        jobs: chains that run at once.
        call: what started it, for the record.
    """

    def __init__(self, grid: Grid, folder: SweepFolder, jobs: int, call: str) -> None:
        self._grid, self._folder, self._jobs, self._call = grid, folder, jobs, call
        self._errors: list[Exception] = []

    def run(self) -> None:
        """Run all chains, and write the report. Raises ChainsFailed."""
        from modelcollapse.code_digests.house import hand_on_sources
        from modelcollapse.sweeps.runner import threads_of
        from modelcollapse.sweeps.session import planned
        from modelcollapse.sweeps.watching import watched

        settings = [point.settings for point in self._grid.points]
        with self._processes_ready(settings):
            self._chains = [planned(point, threads_of(self._jobs)) for point in self._grid.points]
            permit = self._folder.begin(self._call, self._chains)
            hand_on_sources(self._folder.path)
            try:
                with watched(self._folder, self._chains, _display(settings[0].trainer.progress)):
                    self._run_all(permit)
            finally:
                self._folder.end(permit)
        self._report()

    @contextmanager
    def _processes_ready(self, settings: Sequence[Any]) -> Iterator[None]:
        from modelcollapse.registry import safe_imports

        started = processes_of(settings) if self._jobs == 1 else f"jobs={self._jobs}"
        with importing_members(settings, self._folder.path, started), safe_imports():
            yield

    def _run_all(self, permit: str) -> None:
        if self._jobs == 1:
            for point in self._grid.points:
                self._run_here(point)
            return
        from modelcollapse.sweeps.runner import run_planned

        with ThreadPoolExecutor(self._jobs) as pool:
            numbers = [chain.number for chain in self._chains]
            try:
                list(pool.map(partial(run_planned, self._folder, permit=permit), numbers))
            except BaseException:
                # The threads end their processes, which keep what they have finished.
                self._folder.end(permit)
                raise

    def _run_here(self, point: Point) -> None:
        """Run one chain in this process; its error stops no other."""
        folder = self._folder.chain(point.number)
        folder.mkdir(parents=True, exist_ok=True)
        host, process = os.uname().nodename, os.getpid()
        here = ChainProcess(host=host, runner=process, started=now(), process=process, began=process_began(process))
        self._folder.write_process(point.number, here)
        ended = replace(here, exit_code=1, stopped=True)
        try:
            settings, values, _ = composed(point.overrides, folder)
            with claimed(folder, "run", by_time=False), unchanged_libraries():
                run_in(folder, settings, values, ChainDisplay(settings, folder, None), point.overrides)
            ended = replace(here, exit_code=0)
        except Exception as error:
            self._errors.append(error)
            ended = replace(here, exit_code=1, error=run_error(error).line)
        finally:
            self._folder.write_process(point.number, replace(ended, ended=now()))

    def _report(self) -> None:
        failed = [chain for chain in self._chains if self._folder.state(chain.number) != "finished"]
        if any(self._folder.generations(chain.number) for chain in self._chains):
            _write_report(self._folder.path, self._grid, self._chains)
        if failed:
            head = f"{len(failed)} of {count_of(len(self._chains), 'chain')} failed:"
            message = "\n".join([head, *map(self._failure, failed)])
            raise ChainsFailed(message, Sweep(self._folder.path)) from next(iter(self._errors), None)

    def _failure(self, chain: PlannedChain) -> str:
        process = self._folder.process(chain.number)
        return f"  {chain.number}  {chain.title}: {(process and process.error) or 'it never began'}"


def _write_report(folder: Path, grid: Grid, chains: Sequence[PlannedChain]) -> None:
    from modelcollapse.report import write_sweep_report
    from modelcollapse.sweeps.reporting import show_report

    target, settings = folder / "report", grid.points[0].settings
    files = write_sweep_report([folder], target)
    show_report(settings.tracking, settings.name, [chain.id for chain in chains], target, files)


def _display(is_shown: bool) -> Display | None:
    """Where the chains are shown: in a notebook one output; None for as a command does."""
    if not is_shown:
        return _Nowhere()
    return _NotebookTable() if in_notebook() else None


class _Nowhere:
    """Shows nothing."""

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _NotebookTable:
    """Draws the chains into one output of a notebook."""

    def __init__(self) -> None:
        self._output = Output()

    def show(self, chains: Sequence[ChainSeen], elapsed: float) -> None:
        """Draw the chains as they are after so many seconds."""
        from modelcollapse.sweeps.watching import drawn

        self._output.show(*html_of(drawn(chains, elapsed, MOST_CHAINS_SHOWN)))

    def close(self) -> None:
        """The last drawing stays."""


class Sweep:
    """A sweep that was run, read from its folder when it is asked for.

    Args:
        folder: of a sweep, or any folder above run folders.

    Raises:
        UserError: there is no run in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        if not (self.folder / GRID_FILE).is_file() and not any(run_folders(self.folder)):
            raise UserError(f"{self.folder}: there is no sweep and no run")

    @property
    def runs(self) -> list[Run]:
        """The chains that have begun, in the order of their numbers."""
        return [Run(folder) for folder in sorted(run_folders(self.folder), key=_in_order)]

    @property
    def chains(self) -> pd.DataFrame:
        """A row a chain: its number, the settings that vary, its state, finished generations, its error."""
        import pandas as pd

        folder = SweepFolder(self.folder)
        rows = [
            {
                "chain": chain.number,
                **dict(override.split("=", 1) for override in chain.varied),
                "state": folder.state(chain.number),
                "generations": folder.generations(chain.number),
                "error": getattr(folder.process(chain.number), "error", None),
            }
            for chain in (folder.chains() if (self.folder / GRID_FILE).is_file() else ())
        ]
        return pd.DataFrame(rows)

    @property
    def statistics(self) -> pd.DataFrame:
        """Statistics over seeds: ``metric``, ``generation``, ``group``, ``mean``, ``low``, ``high`` and ``n``.

        ``low`` and ``high`` are the 95 % interval of the mean. For families whose chains are many replicates, ``n``
        counts the replicates of all seeds. All columns are in the report's ``statistics.parquet``.
        """
        import pandas as pd

        from modelcollapse.report.tables import shown_statistics

        table = shown_statistics(pd.read_parquet(self.report.folder / "statistics.parquet"))
        return table[[*STATISTICS]].sort_values(["metric", "group", "generation"], kind="stable", ignore_index=True)

    @property
    def figures(self) -> Figures:
        """Figures of the report by name; each shows itself in a notebook."""
        return Figures(self.report.folder / "figures")

    @property
    def report(self) -> Report:
        """The report, which shows itself in a notebook; it is written now where there is none yet."""
        from modelcollapse.report import write_sweep_report

        folder = self.folder / "report"
        if not (folder / "report.html").is_file():
            write_sweep_report([self.folder], folder)
        return Report(folder)

    def __repr__(self) -> str:
        return f"<Sweep of {len(self.runs)} runs, {shown_path(self.folder)}>"


class Report:
    """The page that compares the chains of a sweep, with its tables and figures beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "report.html"

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="720" style="border:0"></iframe>'

    def __repr__(self) -> str:
        return f"<Report {shown_path(self.path)}>"


def load(folder: str | os.PathLike[str]) -> Run | Sweep:
    """Open a run folder, or the folder of a sweep, of whatever was run before.

    Raises UserError where it holds neither.
    """
    place = Path(folder).expanduser()
    if (place / GRID_FILE).is_file():
        return Sweep(place)
    return Run(place)


def _in_order(folder: Path) -> tuple[int, str]:
    return (int(folder.name) if folder.name.isdigit() else -1, str(folder))
