"""Chains of linear regression and of kernel densities, against a loop over scikit-learn as one would write it.

    python benchmarks/regression_and_density.py [--quick]

1,000 replicates, 100 generations: regression with d = 10, n = 100; density with M = 100 points in the plane and 100
test points. Ours runs whole chains: the fit in Lightning, measures, percentiles, the store and the record of the run.
The loop fits, measures the test error or the test loss and draws the next set, for few replicates and generations; its
time is scaled up. Wall time on as many threads as there are cores, and process CPU time; runs interleaved, medians. The
bar is for `replace`: at most 20 s, and at least 20 times the speed of the loop in CPU time.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.datasets import make_moons
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KernelDensity

from modelcollapse.chain import run_chain
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import ChainSettings, read_chain_settings
from modelcollapse.families import family_for
from modelcollapse.record import ChainIdentity, Record
from modelcollapse.store import Store
from modelcollapse.training.trainer import Execution, prepare_process

FAMILIES = {
    "linear_regression": ("data=linear_samples", "data.rows=100", "data.dimension=10"),
    "kernel_density": ("data=shapes", "data.rows=100", "model.test_points=100"),
}
LOOP_REPLICATES, LOOP_GENERATIONS = 20, 10
MOST_SECONDS, LEAST_RATIO = 20.0, 20.0


class Taken(NamedTuple):
    """Seconds of a run."""

    wall: float
    cpu: float


def main() -> None:
    """Time all, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few replicates and generations, once")
    quick = parser.parse_args().quick
    replicates, generations, repeats = (20, 5, 1) if quick else (1000, 100, 3)
    lengths = {(family, "replace"): generations for family in FAMILIES}
    lengths |= {("linear_regression", "accumulate"): generations, ("kernel_density", "accumulate"): generations // 5}
    chains = {(family, regime): _settings(family, regime, replicates, n) for (family, regime), n in lengths.items()}
    prepare_process(next(iter(chains.values())).trainer)
    print(f"{replicates} replicates, {generations} generations, {os.cpu_count()} cores, seconds, median of {repeats}")
    print(f"{'':34} {'wall':>7} {'CPU':>7} {'loop CPU':>9} {'ratio':>7}")
    for (family, regime), settings in chains.items():
        _chain(settings, 2)
        ours, loop = _interleaved([partial(_chain, settings), partial(LOOPS[family], regime)], repeats)
        scale = replicates / LOOP_REPLICATES * (settings.generations + 1) / LOOP_GENERATIONS
        ratio = loop.cpu * scale / ours.cpu
        verdict = "" if regime != "replace" else _verdict(ours.wall, ratio)
        seconds = f"{ours.wall:>7.1f} {ours.cpu:>7.1f} {loop.cpu * scale:>9.1f}"
        print(f"{family + ', ' + regime:34} {seconds} {ratio:>7.1f} {verdict}")
    print("Under accumulate the loop is timed over its first generations, which are its cheapest, and densities over a")
    print("fifth of the generations: their kernels grow with the square of these.")


def _verdict(seconds: float, ratio: float) -> str:
    met = seconds <= MOST_SECONDS and ratio >= LEAST_RATIO
    return f"{'pass' if met else 'FAIL'}: at most {MOST_SECONDS:g} s and a ratio of at least {LEAST_RATIO:g}"


def _interleaved(runs: Sequence[Callable[[], None]], repeats: int) -> list[Taken]:
    """Medians of every run; one repeat of all after another."""
    taken: list[list[Taken]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, taken, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            found.append(Taken(time.perf_counter() - wall, time.process_time() - cpu))
    return [Taken(*(statistics.median(values) for values in zip(*found, strict=True))) for found in taken]


def _settings(family: str, regime: str, replicates: int, generations: int) -> ChainSettings:
    words = [f"model={family}", *FAMILIES[family], f"regime={regime}", "decoding=none", "tracking=none"]
    words += [f"model.replicates={replicates}", f"generations={generations}", f"trainer.threads={os.cpu_count()}"]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        config = compose("train", overrides=words)
    return read_chain_settings(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]


def _chain(settings: ChainSettings, generations: int | None = None) -> None:
    """A chain as the command line runs it, without its figures, in a store of its own."""
    settings = settings if generations is None else replace(settings, generations=generations)
    with tempfile.TemporaryDirectory() as folder:
        family = family_for(settings, Execution(settings.trainer, None))
        identity = ChainIdentity("benchmark", "benchmark", family.name, family.title, "chain", settings.seed)
        with Record(Path(folder) / "run", identity, {}) as record:
            for _ in run_chain(settings, family, Store(Path(folder) / "store"), record):
                pass


def _regression_loop(regime: str) -> None:
    generator, true = np.random.default_rng(0), np.full(10, 0.1**0.5)
    for _ in range(LOOP_REPLICATES):
        features, weights = generator.standard_normal((100, 10)), true
        inputs, outputs = np.empty((0, 10)), np.empty(0)
        for _ in range(LOOP_GENERATIONS):
            labels = features @ weights + generator.standard_normal(100)
            kept = regime == "accumulate"
            inputs = np.concatenate([inputs, features]) if kept else features
            outputs = np.concatenate([outputs, labels]) if kept else labels
            weights = LinearRegression(fit_intercept=False).fit(inputs, outputs).coef_
            _ = np.square(weights - true).sum()


def _density_loop(regime: str) -> None:
    for replicate in range(LOOP_REPLICATES):
        points, test = (make_moons(100, noise=0.05, random_state=2 * replicate + part)[0] for part in (0, 1))
        pool = points
        for generation in range(LOOP_GENERATIONS):
            density = KernelDensity(bandwidth=0.1).fit(pool)
            _ = -density.score_samples(test).mean()
            points = density.sample(100, random_state=generation)
            pool = np.concatenate([pool, points]) if regime == "accumulate" else points


LOOPS = {"linear_regression": _regression_loop, "kernel_density": _density_loop}

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
