"""Says in what two runs differ: ``modelcollapse compare RUN RUN``."""

import argparse
import json
import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, FOUND, reported
from modelcollapse.record.comparison import Comparison, Difference, Place, compare_runs

MOST_METRICS = 10
MOST_MODULES = 8


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Say in what two runs differ: settings, code, libraries, execution; and since which generation and"
        " stage their results do. Nothing is computed again.",
    )
    found.add_argument("runs", metavar="RUN", type=Path, nargs=2, help="run folder")
    found.add_argument("--json", action="store_true", help="print all of it as JSON")
    found.add_argument("--exit-code", action="store_true", help="end with 1 where the results differ, else with 0")
    found.add_argument("--store", metavar="PATH", type=Path, help="the store of both (default: that of each run)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return reported(partial(_main, parser().parse_args(arguments)))


def _main(chosen: argparse.Namespace) -> int:
    comparison = compare_runs(chosen.runs[0], chosen.runs[1], chosen.store)
    if chosen.json:
        print(json.dumps(comparison.as_json(), indent=1, ensure_ascii=False))
    else:
        print_comparison(comparison)
    return FOUND if chosen.exit_code and not comparison.has_equal_results else DONE


def print_comparison(comparison: Comparison) -> None:
    """Print the differences for people."""
    from modelcollapse.console import console

    out = console()
    for part in comparison_parts(comparison):
        out.print(part, soft_wrap=isinstance(part, str))


def comparison_parts(comparison: Comparison) -> Iterator[Any]:
    """The differences for people: lines, and tables of rich."""
    yield from _verdict(comparison)
    for heading, differences in (
        ("settings", comparison.settings),
        ("code", comparison.code),
        ("libraries of the runs", comparison.versions),
        ("libraries that made the artifacts", comparison.artifact_versions),
        ("execution of the artifacts", comparison.execution),
    ):
        if differences:
            yield _table(heading, comparison.runs, differences)
    if comparison.sources:
        shown = comparison.sources[:MOST_MODULES]
        rest = len(comparison.sources) - len(shown)
        more = f" and {rest} more" if rest else ""
        yield f"files of source code that differ: {', '.join(shown)}{more}"
    if comparison.metrics:
        yield _metrics_table(comparison)
    yield from (f"not compared: {line}" for line in comparison.lacking)


def _verdict(comparison: Comparison) -> list[str]:
    """Since when recipes and results differ, in a line each."""
    least = min(comparison.generations)
    compared = "no generation" if least == 0 else "generation 0" if least == 1 else f"generations 0 to {least - 1}"
    if comparison.is_empty:
        return [f"no difference in {compared}"]
    lines = []
    if len({*comparison.generations}) > 1:
        counts = " and ".join(map(str, comparison.generations))
        lines.append(f"finished are {counts} generations; compared: {compared}")
    if comparison.recipe is not None:
        lines.append(f"recipes differ since {_where(comparison.recipe)}")
        lines += [f"  {detail}" for detail in comparison.recipe.details]
    if comparison.result is not None:
        lines.append(f"results differ since {_where(comparison.result)}: {', '.join(comparison.result.details)}")
    else:
        lines.append(f"results are equal in {compared}")
    return lines


def _where(place: Place) -> str:
    stage = f", stage {place.stage}" if place.stage else ""
    return f"generation {place.generation}{stage} ({place.label})"


def _table(heading: str, runs: tuple[str, str], differences: Sequence[Difference]) -> Any:
    table = _empty_table(heading, "name", *runs)
    for difference in differences:
        table.add_row(difference.name, _cell(difference.first), _cell(difference.second))
    return table


def _metrics_table(comparison: Comparison) -> Any:
    shown = comparison.metrics[:MOST_METRICS]
    of = f", {len(shown)} of {len(comparison.metrics)} that differ" if len(comparison.metrics) > len(shown) else ""
    table = _empty_table(
        f"metrics{of}", "metric", "differs since", *comparison.runs, "largest relative difference", "in generation"
    )
    for metric in shown:
        values = (f"{metric.first:.6g}", f"{metric.second:.6g}", f"{metric.largest:.2g}")
        table.add_row(metric.name, str(metric.generation), *values, str(metric.largest_generation))
    return table


def _empty_table(heading: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=heading, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cell(value: Any) -> Any:
    from rich.text import Text

    return Text("-" if value is None else json.dumps(value) if isinstance(value, (list, bool)) else str(value))
