"""Reports on sweeps: at the end of one, and on any that were run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelcollapse.console import shown_path
from modelcollapse.errors import UserError

if TYPE_CHECKING:
    from modelcollapse.report import ReportFiles

REPORT, TARGET = "report", "report_folder"


def report_on(words: Sequence[str]) -> None:
    """Report on the sweeps that ``report=PATH[,PATH]`` names, finished or not.

    Raises UserError where other words are among them, or a path is no folder.
    """
    values = dict(word.partition("=")[::2] for word in words)
    if foreign := sorted(values.keys() - {REPORT, TARGET}):
        raise UserError(
            f"{', '.join(foreign)}: no chain runs with report=PATH[,PATH]; beside it goes only {TARGET}=FOLDER"
        )
    folders = [Path(path).expanduser() for path in values[REPORT].split(",") if path]
    if absent := [str(folder) for folder in folders if not folder.is_dir()]:
        raise UserError(f"report: there is no folder {', '.join(absent)}")
    if not folders:
        raise UserError("report: names no folder; report=PATH or report=PATH,PATH")
    files = report_sweeps(folders, Path(values.get(TARGET) or folders[0] / "report").expanduser())
    if files.unfinished:
        print("unfinished:", *files.unfinished, sep="\n  ", flush=True)


def report_sweeps(folders: Sequence[Path], target: Path) -> "ReportFiles":
    """Write the report on sweeps into ``target`` and say where it is."""
    from modelcollapse.report import write_sweep_report

    files = write_sweep_report(folders, target)
    print(f"report  {shown_path(files.html)}", flush=True)
    return files
