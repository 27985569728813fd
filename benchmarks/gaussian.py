"""What a generation of Gaussian chains costs: 1000 replicates by sufficient statistics, against a loop over samples.

    python benchmarks/gaussian.py

Both do what a study needs of a generation. Ours runs the whole chain: the fit in Lightning, eight measures, their
percentiles, the store and the record of the run. The loop is the usual one in NumPy: draw, take the moments, keep both
errors. Process CPU time on one thread, runs interleaved, medians; the loop is timed over fewer generations.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from modelcollapse.chain import run_chain
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import ChainSettings, read_chain_settings
from modelcollapse.families import family_for
from modelcollapse.record import ChainIdentity, Record
from modelcollapse.store import Store
from modelcollapse.training.trainer import Execution, prepare_process

SIZES = (100, 500, 1000, 10_000)
"""Rows of the paper's chains."""
REPLICATES, GENERATIONS = 1000, 1000
LOOP_GENERATIONS = 5
REPEATS = 5


def main() -> None:
    """Time both, and print seconds for the whole experiment."""
    settings = _settings()
    prepare_process(settings.trainer)
    _chain(replace(settings, generations=3))
    ours, loop = _interleaved([lambda rows: _chain(_with_rows(settings, rows)), _loop], REPEATS)
    print(f"{REPLICATES} replicates, {GENERATIONS} generations, CPU seconds, median of {REPEATS}")
    print(f"{'M':>7} {'statistics':>11} {'samples':>9} {'ratio':>7}")
    for rows in SIZES:
        scaled = loop[rows] * (GENERATIONS + 1) / LOOP_GENERATIONS
        print(f"{rows:>7} {ours[rows]:>11.2f} {scaled:>9.1f} {scaled / ours[rows]:>7.1f}")
    print(f"{'all':>7} {sum(ours.values()):>11.2f}")


def _interleaved(runs: Sequence[Callable[[int], None]], repeats: int) -> list[dict[int, float]]:
    """Median CPU seconds of every run at every size; one repeat of everything after another."""
    seconds: list[dict[int, list[float]]] = [{rows: [] for rows in SIZES} for _ in runs]
    for _ in range(repeats):
        for rows in SIZES:
            for run, found in zip(runs, seconds, strict=True):
                started = time.process_time()
                run(rows)
                found[rows].append(time.process_time() - started)
    return [{rows: statistics.median(values) for rows, values in found.items()} for found in seconds]


def _settings() -> ChainSettings:
    words = ["experiment=paper_gaussian", "tracking=none", "trainer.threads=1", f"model.replicates={REPLICATES}"]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        config = compose("train", overrides=[*words, f"generations={GENERATIONS}"])
    return read_chain_settings(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]


def _with_rows(settings: ChainSettings, rows: int) -> ChainSettings:
    return replace(settings, data=replace(settings.data, rows=rows))


def _chain(settings: ChainSettings) -> None:
    """A chain as the command line runs it, without its figures, in a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        family = family_for(settings, Execution(settings.trainer, None))
        identity = ChainIdentity("benchmark", "benchmark", family.name, family.title, "replace", settings.seed)
        with Record(Path(folder) / "run", identity, {}) as record:
            for _ in run_chain(settings, family, Store(Path(folder) / "store"), record):
                pass


def _loop(rows: int) -> None:
    """The usual loop."""
    generator = np.random.default_rng(0)
    mean, deviation = np.zeros(REPLICATES), np.ones(REPLICATES)
    errors = []
    for _ in range(LOOP_GENERATIONS):
        samples = mean[:, None] + deviation[:, None] * generator.standard_normal((REPLICATES, rows))
        mean, deviation = samples.mean(axis=1), samples.std(axis=1, ddof=1)
        errors.append((np.abs(mean), np.abs(deviation - 1)))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    main()
