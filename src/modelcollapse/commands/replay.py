"""Runs a bundle again and says what agrees: ``modelcollapse replay BUNDLE``."""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, FOUND, reported
from modelcollapse.errors import UserError, spoken
from modelcollapse.registry import use_script

if TYPE_CHECKING:
    from modelcollapse.record.bundle import Bundle
    from modelcollapse.sweeps.replaying import Chain, Checked, Replayed

DEFAULT_FOLDER = "replays"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Check a bundle, run its chains again from their settings alone, and say what agrees with its"
        " record. What a bundle says is data: it starts no code, and names no place to read or write.",
        epilog="Exit code 0: all agrees. 1: something does not. 2: it is no bundle, or a damaged one.",
    )
    found.add_argument("bundle", metavar="BUNDLE", type=Path, help="file that modelcollapse bundle wrote")
    found.add_argument(
        "overrides",
        metavar="OVERRIDE",
        nargs="*",
        help="where data lie that are not in the bundle, data.path=FOLDER; generations=N for the first ones only;"
        " settings of execution, trainer.threads=N, ...",
    )
    found.add_argument("--check", action="store_true", help="check it and compare code and recipes, but run nothing")
    found.add_argument(
        "--output", metavar="FOLDER", type=Path, help="folder of the new runs (default: replays/ and the bundle's name)"
    )
    found.add_argument(
        "--store", metavar="PATH", type=Path, help="store of the new runs (default: a new one in the folder)"
    )
    found.add_argument(
        "--tolerance",
        metavar="NUMBER",
        type=float,
        help="largest relative difference of a metric that agrees (default: 0, or 1e-5 where libraries or execution"
        " are others)",
    )
    found.add_argument(
        "--extension",
        metavar="NAME",
        action="append",
        default=[],
        help="installed package, or its member KIND/NAME, whose code the chains may use",
    )
    found.add_argument("--script", metavar="FILE", type=Path, help="script that registers what the chains use")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return reported(partial(_main, parser().parse_intermixed_args(arguments)))


def _main(chosen: argparse.Namespace) -> int:
    from modelcollapse.record.bundle import open_bundle

    if chosen.tolerance is not None and not 0 <= chosen.tolerance < 1:
        raise UserError(f"--tolerance {chosen.tolerance:g}: must be at least 0 and below 1")
    path = chosen.bundle.expanduser()
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    from modelcollapse.console import byte_bar

    with byte_bar(f"checking {path.name}", path.stat().st_size) as advance:
        bundle = open_bundle(path, advance)
    folder = (chosen.output or Path(DEFAULT_FOLDER, path.stem)).expanduser().absolute()
    store = chosen.store.expanduser().absolute() if chosen.store else folder / "store"
    return _looked_at(bundle, chosen, folder, store)


def _looked_at(bundle: "Bundle", chosen: argparse.Namespace, folder: Path, store: Path) -> int:
    from modelcollapse.console import Announcements
    from modelcollapse.record.bundled_records import write_records
    from modelcollapse.sweeps.replaying import Chain, chains_of, checked, recorded_seconds, refuse_absent_devices

    allowed = [*chosen.extension, *_script(chosen.script)]
    chains = chains_of(bundle, chosen.overrides, store, allowed, without_data=chosen.check)
    print(
        f"{bundle.path}: {_counted(len(bundle.runs), 'run')}, {_counted(len(bundle.members), 'file')}, all as written"
    )
    with TemporaryDirectory(prefix="modelcollapse-") as place:
        records = Path(place)
        write_records(bundle, records)
        found = [checked(chain, records, Announcements()) for chain in chains]
        seconds = recorded_seconds(records, chains)
    _print_checks(found, bundle)
    if chosen.check:
        return DONE if all(each.agrees for each in found) else FOUND
    whole = [chain for chain in chains if isinstance(chain, Chain)]
    refuse_absent_devices(whole, Announcements())
    print(f"recorded work: {spoken(seconds)}", flush=True)
    return _run(bundle, whole, folder, chosen.tolerance)


def _script(script: Path | None) -> Sequence[str]:
    """The origin of the members of a script, which is imported when members are asked for."""
    if script is None:
        return ()
    return (use_script(script),)


def _run(bundle: "Bundle", chains: Sequence["Chain"], folder: Path, tolerance: float | None) -> int:
    from modelcollapse.console import print_messages, shown_path
    from modelcollapse.record.bundled_records import write_records
    from modelcollapse.record.claiming import claimed
    from modelcollapse.sweeps.replaying import RECORDED, replay_chains, write_result

    with claimed(folder, "replay", by_time=False):
        write_records(bundle, folder / RECORDED)
        print_messages()
        found = []
        for each in replay_chains(chains, folder, tolerance):
            found.append(each)
            _print_replayed(each)
        result = write_result(folder, bundle, found)
    agreeing = sum(each.agrees for each in found)
    print(f"{agreeing} of {_counted(len(found), 'run')} agree{'s' if len(found) == 1 else ''}  {shown_path(result)}")
    return DONE if agreeing == len(found) else FOUND


# ---- for people ------------------------------------------------------------------------------------------------------


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _print_checks(found: Sequence["Checked"], bundle: "Bundle") -> None:
    """Print in what this machine differs from the record; what several runs have in common once."""
    from modelcollapse.console import console

    out = console()
    for run in bundle.runs:
        for what in run.lacking:
            out.print(f"{run.title}: the bundle lacks {what}", soft_wrap=True)
    for line in dict.fromkeys(line for each in found for line in _check_lines(each)):
        out.print(line, soft_wrap=True)


def _check_lines(each: "Checked") -> Iterator[str]:
    for heading, differences in (("version", each.versions), ("code", each.code)):
        for difference in differences:
            recorded, here = difference.first or "none", difference.second or "none"
            yield f"{heading} of {difference.name}: {recorded} recorded, {here} here"
    if each.unknown:
        yield f"{each.title}: recipes not compared: {each.unknown}"
    elif each.other:
        yield f"{each.title}: {each.other} of {each.keys} artifacts have another recipe here"
    else:
        yield f"{each.title}: recipes of all {each.keys} artifacts are equal here"


def _print_replayed(each: "Replayed") -> None:
    from modelcollapse.console import console

    out = console()
    for part in _replayed_parts(each):
        out.print(part, soft_wrap=isinstance(part, str))


def _replayed_parts(each: "Replayed") -> Iterator[Any]:
    """What came of a run: a line where all agrees to the bit, else in what it differs."""
    from modelcollapse.commands.compare import comparison_parts

    head = f"run {each.number}, {each.title}"
    if each.comparison is None:
        yield f"{head}: failed: {each.error}"
        return
    last = min(each.comparison.generations) - 1
    what = f"{each.metrics} numbers of generations 0 to {last}"
    yield {
        "bits": f"{head}: agrees to the bit in {what}",
        "tolerance": f"{head}: agrees within {each.largest:g} in {what}",
        "differs": f"{head}: does not agree",
    }[each.verdict]
    if each.taken:
        yield f"  {each.taken} artifacts were in the store before, and were not computed again"
    yield from (f"  {what}" for what in each.lacking)
    if each.verdict != "bits":
        yield from comparison_parts(each.comparison)
    else:
        yield from (f"  not compared: {line}" for line in each.comparison.lacking)
