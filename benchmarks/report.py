"""The report of 100 chains of 50 generations: seconds on the wall, processor time, and peak memory of its process.

    python benchmarks/report.py [--quick] [--chains 100] [--seeds 5] [--generations 50] [--keep FOLDER]

One small chain is run; the others are its run folder written again with other seeds, other shares of real data, more
generations and numbers that differ by a few percent: what a report reads is what runs of this length write. Then
``modelcollapse report`` is run in a process of its own, with all that it imports. Figures take the
most time, two for each group: with ``--seeds 5`` there are 20 groups of five seeds.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

MOST_SECONDS, MOST_MEGABYTES = 20, 500
SOURCE_GENERATIONS = 2
TRAIN = Path(__file__).parents[1] / "train.py"
COMMON = ("tracking=none", "trainer.threads=1", "trainer.accelerator=cpu", "regime=preserve", "debug=fast")
VALUES = {"generations.jsonl", "timings.jsonl"}
"""Files of lines whose numbers differ from chain to chain; those of the others are counts, texts and keys."""


def main() -> None:
    """Write the run folders, report on them, and print what it took beside what it may take."""
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        source, sweep = Path(temporary) / "source", options.keep or Path(temporary) / "sweep"
        _run_source(options.experiment, Path(temporary), source)
        for number in range(options.chains):
            write_chain(source, sweep / str(number), number, options.seeds, options.generations)
        seconds, processor, megabytes = _reported(sweep)
    groups = -(-options.chains // options.seeds)
    print(
        f"report of {options.chains} chains x {options.generations} generations, {groups} groups, {options.experiment}"
    )
    print(f"{'':24}{'found':>8}{'at most':>9}")
    for name, found, most in (
        ("seconds on the wall", seconds, MOST_SECONDS),
        ("seconds of processor", processor, None),
        ("peak memory, MB", megabytes, MOST_MEGABYTES),
    ):
        verdict = "" if most is None else f"{most:>9}  {'passed' if found < most else 'failed'}"
        print(f"{name:24}{found:>8.1f}{verdict}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5, help="chains of a group")
    parser.add_argument("--experiment", default="quickstart", help="what the source is a chain of")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the sweep there, and leave it")
    parser.add_argument("--quick", action="store_true", help="10 chains of 5 generations")
    options = parser.parse_args()
    if options.quick:
        options.chains, options.generations = 10, 5
    return options


def _run_source(experiment: str, folder: Path, target: Path) -> None:
    places = (f"hydra.run.dir={target}", f"paths.store={folder / 'store'}")
    overrides = (f"experiment={experiment}", *COMMON, f"generations={SOURCE_GENERATIONS}", *places)
    subprocess.run([sys.executable, TRAIN, *overrides], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def write_chain(source: Path, target: Path, number: int, seeds: int, generations: int) -> None:
    """Write a finished chain of so many generations like the one of ``source``, of a seed and share of its own."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.jsonl", "*.parquet", ".hydra"))
    seed, share = number % seeds, 0.01 + 0.04 * (number // seeds)
    draws = random.Random(number)
    identity = json.loads((source / "chain.json").read_text(encoding="utf-8"))
    _write_json(target / "chain.json", identity | {"id": f"{number:016x}", "seed": seed})
    text = (source / "config.yaml").read_text(encoding="utf-8")
    changed = text.replace("\nseed: 0\n", f"\nseed: {seed}\n").replace("\n  real: 0.1\n", f"\n  real: {share:.2f}\n")
    changed = changed.replace(f"\ngenerations: {SOURCE_GENERATIONS}\n", f"\ngenerations: {generations}\n")
    (target / "config.yaml").write_text(changed, encoding="utf-8")
    for path in source.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        written = (_changed(line, draws, seed, path.name in VALUES) for line in longer(lines, generations))
        (target / path.name).write_text("".join(json.dumps(line) + "\n" for line in written), encoding="utf-8")
    for path in source.glob("*.parquet"):
        table = pd.read_parquet(path)
        if "generation" in table:
            parts = [table[table["generation"] == like].assign(generation=new) for new, like in _likes(generations)]
            table = pd.concat(parts, ignore_index=True)
        table.to_parquet(target / path.name, index=False)


def longer(lines: list[dict[str, Any]], generations: int) -> Iterator[dict[str, Any]]:
    """The lines of each generation; those after the last are like it."""
    for new, like in _likes(generations):
        yield from (line | {"generation": new} for line in lines if line.get("generation") == like)


def _likes(generations: int) -> Iterator[tuple[int, int]]:
    return ((new, min(new, SOURCE_GENERATIONS)) for new in range(generations + 1))


def _changed(line: dict[str, Any], draws: random.Random, seed: int, has_values: bool) -> dict[str, Any]:
    changed = {
        name: value * draws.uniform(0.97, 1.0) if has_values and isinstance(value, float) else value
        for name, value in line.items()
    }
    return changed | {"seed": seed} if "seed" in line else changed


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _reported(sweep: Path) -> tuple[float, float, float]:
    """Seconds on the wall, seconds of processor time and peak MB of the process that reports."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-P", "-m", "modelcollapse", "report", str(sweep)])
    # The usage of this one process; RUSAGE_CHILDREN would be that of the largest so far.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the report failed, exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
