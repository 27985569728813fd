"""The paper's mixture chain against the same chain written with scikit-learn, in time per replicate and generation.

    python benchmarks/mixture.py [--quick] [--generations 2050] [--block 50] [--replicates 5 100]

All contenders advance chains of their own by a block of generations in turn, so that whatever else the machine does
falls on all of them; medians over the blocks are compared, of time on the wall and of processor time, which a busy
machine distorts less. scikit-learn runs with one thread or two, for OpenMP and BLAS alike, whichever is faster in a
trial beforehand. This project runs on one thread, twice: `fit and draw` is what the scikit-learn chain does too;
`chain` adds all measures, Lightning's Trainer and the store, as `train.py` runs it.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from modelcollapse.chain import chain_generations
from modelcollapse.command import configuration_folder
from modelcollapse.execution.trainer import Execution, prepare_process
from modelcollapse.models import family_for
from modelcollapse.models.segmented.mixture import GaussianMixtureEstimator
from modelcollapse.seeding import Stream
from modelcollapse.settings.chain import ChainSettings, read_chain_settings
from modelcollapse.store import Store

Blocks = Iterator[float]
"""Advances a chain by a block of generations each time, giving the mean EM iterations of a replicate and generation."""


@dataclass
class Contender:
    """A way to run the chain, and what its blocks took."""

    name: str
    replicates: int
    threads: int
    blocks: Blocks
    wall: list[float] = field(default_factory=list)
    """Milliseconds on the wall per replicate and generation, each block."""
    processor: list[float] = field(default_factory=list)
    """The same of processor time, all threads added up."""
    iterations: list[float] = field(default_factory=list)

    def advance(self, generations: int) -> None:
        """Run and time a block."""
        scale = 1000 / (self.replicates * generations)
        with threadpool_limits(self.threads):
            wall, processor = time.perf_counter(), time.process_time()
            self.iterations.append(next(self.blocks))
            self.processor.append(scale * (time.process_time() - processor))
            self.wall.append(scale * (time.perf_counter() - wall))


def chain_settings(replicates: int, generations: int, block: int) -> ChainSettings:
    """``experiment=paper_gmm`` at these sizes."""
    words = [
        "experiment=paper_gmm",
        "tracking=none",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
        f"model.replicates={replicates}",
        f"model.segment_length={block}",
        f"generations={generations}",
    ]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        return read_chain_settings(OmegaConf.to_container(compose("train", overrides=words), resolve=True))


def scikit_learn(settings: ChainSettings, block: int, seed: int) -> Blocks:
    """The chain of one replicate as one would write it with scikit-learn."""
    model, rows = settings.model, settings.data.rows
    # An integer seed would draw the same sample in every generation.
    random = np.random.RandomState(seed)
    data = random.multivariate_normal(settings.data.mean, settings.data.covariance, rows)
    while True:
        iterations = 0
        for _ in range(block):
            mixture = GaussianMixture(
                model.components,
                covariance_type=model.covariance,
                tol=model.tolerance,
                max_iter=model.max_iterations,
                reg_covar=model.covariance_floor,
                init_params=model.start,
                random_state=random,
            ).fit(data)
            data = mixture.sample(rows)[0]
            iterations += mixture.n_iter_
        yield iterations / block


def fit_and_draw(settings: ChainSettings, block: int) -> Blocks:
    """The estimator's fits and draws alone."""
    estimator = GaussianMixtureEstimator(settings.model, settings.data)
    rows, generations = settings.data.rows, count()
    data = estimator.real(rows, Stream(0, 0, "real"))
    state = None
    while True:
        iterations = 0.0
        for _ in range(block):
            generation = next(generations)
            fitted = estimator.fit(data, None, state, Stream(0, generation, "fit"))
            data = estimator.draw(fitted.state, rows, Stream(0, generation, "synthesis"))
            state = fitted.state
            iterations += float(fitted.diagnostics["iterations"].mean())
        yield iterations / block


def whole_chain(settings: ChainSettings, folder: Path) -> Blocks:
    """Segments as ``train.py`` makes them: Trainer, measures and store."""
    family = family_for(settings, Execution(settings.trainer, None, lambda generation, line: None))
    store = Store(folder)
    pieces = list(
        dict.fromkeys(piece for made in chain_generations(settings, family) for piece in made.pieces.values())
    )
    store.obtain(pieces[0])  # generation 0, a segment of its own
    for piece in pieces[1:]:
        store.obtain(piece)
        yield float("nan")


def tuned_scikit_learn(options: argparse.Namespace) -> Contender:
    """scikit-learn with the number of threads that is faster over two blocks, its clocks set back."""
    settings = chain_settings(1, options.generations, options.block)
    found = [Contender(f"scikit-learn, {n} thread(s)", 1, n, scikit_learn(settings, options.block, 0)) for n in (1, 2)]
    for contender in 2 * found:
        contender.advance(options.block)
    print(", ".join(f"{contender.name}: {median(contender.wall):.1f} ms on the wall" for contender in found))
    best = min(found, key=lambda contender: median(contender.wall))
    return Contender(best.name, 1, best.threads, scikit_learn(settings, options.block, 0))


def contenders(options: argparse.Namespace, folder: Path) -> list[Contender]:
    """scikit-learn, and this project at each number of replicates."""
    found = [tuned_scikit_learn(options)]
    for replicates in options.replicates:
        settings = chain_settings(replicates, options.generations, options.block)
        chain = whole_chain(settings, folder / str(replicates))
        fits = fit_and_draw(settings, options.block)
        found += [
            Contender(f"fit and draw, {replicates} replicates", replicates, 1, fits),
            Contender(f"chain, {replicates} replicates", replicates, 1, chain),
        ]
    return found


def table(found: list[Contender]) -> str:
    """A line a contender: medians of both times, how many times faster than the first, and EM steps."""
    best_wall, best_processor = median(found[0].wall), median(found[0].processor)
    lines = [f"{'':32}{'wall ms':>10}{'ratio':>8}{'CPU ms':>10}{'ratio':>8}{'EM steps':>10}"]
    for contender in found:
        wall, processor = median(contender.wall), median(contender.processor)
        steps = np.mean(contender.iterations)
        lines.append(
            f"{contender.name:32}{wall:10.3f}{best_wall / wall:8.1f}{processor:10.3f}{best_processor / processor:8.1f}"
            + (f"{steps:10.1f}" if np.isfinite(steps) else "")
        )
    return "\n".join(lines)


def options_typed() -> argparse.Namespace:
    """Sizes from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--generations", type=int, default=2050)
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--replicates", type=int, nargs="+", default=[5, 100])
    parser.add_argument("--quick", action="store_true", help="30 generations in blocks of 5: under a minute")
    options = parser.parse_args()
    if options.quick:
        options.generations, options.block = 30, 5
    return options


def main() -> None:
    """Run the blocks in turn and print the table."""
    options = options_typed()
    warnings.simplefilter("ignore", ConvergenceWarning)
    prepare_process(chain_settings(1, 1, 1).trainer)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(options, Path(folder))
        for _ in range(options.generations // options.block):
            for contender in found:
                contender.advance(options.block)
    print(f"paper_gmm, {options.generations} generations in blocks of {options.block}; per replicate and generation")
    print(table(found))


if __name__ == "__main__":
    main()
