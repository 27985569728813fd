"""The paper's mixture chain against the same chain written with scikit-learn, in time per replicate and generation.

    python benchmarks/mixture.py [--quick] [--wandb] [--generations 2000] [--block 500] [--replicates 5 100]

All contenders advance chains of their own by a block of generations in turn, so that whatever else the machine does
falls on all of them; medians over the blocks are compared, of time on the wall and of processor time, which a busy
machine distorts less. scikit-learn runs several chains of different seeds, with one thread or two, for OpenMP and BLAS
alike, whichever is faster in a trial beforehand. This project runs on one thread, twice: `fit and draw` is what the
scikit-learn chains do too; `whole run` adds all measures, Lightning's Trainer, the store and the record, as `train.py`
runs it, and Weights & Biases offline with `--wandb`. Where the time of the whole run goes is printed below.

Not in these times: making the inner loops ready, which is told, and the report at the end of a run.
"""

import argparse
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from modelcollapse.chain import run_chain
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import ChainSettings, read_chain_settings
from modelcollapse.families.gaussian_mixture.estimator import GaussianMixtureEstimator
from modelcollapse.families.gaussian_mixture.family import GaussianMixtureFamily
from modelcollapse.record import ChainIdentity, Record
from modelcollapse.record.views import views
from modelcollapse.seeding import Stream
from modelcollapse.store import Store
from modelcollapse.training.trainer import Execution, prepare_process

TRIAL_GENERATIONS = 3
MOST_OVERHEAD = 0.1
"""Of Trainer, store and record, as a share of fit, draw and measure."""
Seconds = defaultdict[str, float]
"""Processor time of each kind of work, and how many blocks of code were CLOCKED."""
CLOCKED = "clocked"
Blocks = Generator[float, None, None]
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
    """EM steps of a fit, each block."""
    shares: Seconds = field(default_factory=lambda: defaultdict(float))
    """Seconds of processor time that a whole run spent on each kind of work."""

    def advance(self, generations: int) -> None:
        """Run and time a block."""
        scale = 1000 / (self.replicates * generations)
        with threadpool_limits(self.threads):
            wall, processor = time.perf_counter(), time.process_time()
            self.iterations.append(next(self.blocks))
            self.processor.append(scale * (time.process_time() - processor))
            self.wall.append(scale * (time.perf_counter() - wall))


def chain_settings(replicates: int, block: int, wandb: bool = False) -> ChainSettings:
    """``experiment=paper_gmm`` for so many replicates, a block a segment."""
    words = [
        "experiment=paper_gmm",
        *(["tracking.mode=offline"] if wandb else ["tracking=none"]),
        "trainer.threads=1",
        "trainer.accelerator=cpu",
        f"model.replicates={replicates}",
        f"model.segment_length={block}",
    ]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        return read_chain_settings(OmegaConf.to_container(compose("train", overrides=words), resolve=True))


def scikit_learn(settings: ChainSettings, block: int, seeds: range) -> Blocks:
    """Chains of one replicate as one would write them with scikit-learn."""
    chains = [scikit_learn_chain(settings, seed) for seed in seeds]
    while True:
        yield float(np.mean([next(chain) for chain in chains for _ in range(block)]))


def scikit_learn_chain(settings: ChainSettings, seed: int) -> Iterator[int]:
    """EM steps of generation after generation."""
    model, rows = settings.model, settings.data.rows
    # An integer seed would draw the same sample in every generation.
    random = np.random.RandomState(seed)
    data = random.multivariate_normal(settings.data.mean, settings.data.covariance, rows)
    while True:
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
        yield mixture.n_iter_


def seconds_to_make_ready() -> float:
    """Processor time of a first fit, draw and measure, which compile the inner loops or read them from the cache."""
    settings = chain_settings(1, 1)
    begun = time.process_time()
    estimator = GaussianMixtureEstimator(settings.model, settings.data)
    fitted = estimator.fit(estimator.real(settings.data.rows, Stream(0, 0, "real")), None, None, Stream(0, 0, "fit"))
    states = {name: part[None] for name, part in fitted.state.items()}
    estimator.measure(states, fitted.state, [Stream(0, 0, "measure")])
    return time.process_time() - begun


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


class TimedEstimator:
    """The mixture's estimator, with the processor time of its work."""

    def __init__(self, estimator: GaussianMixtureEstimator, seconds: Seconds) -> None:
        self._seconds = seconds
        self.iterations: list[torch.Tensor] = []
        """EM steps of each fit, of every replicate."""
        self.real, self.draw, self.measure = (
            self._timed(name, work)
            for name, work in (("draw", estimator.real), ("draw", estimator.draw), ("measure", estimator.measure))
        )
        self.fit = self._timed("fit", estimator.fit)

    def _timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with clock(self._seconds, name):
                found = work(*arguments)
            if name == "fit":
                self.iterations.append(found.diagnostics["iterations"])
            return found

        return run


class TimedFamily(GaussianMixtureFamily):
    """The mixture family with a timed estimator."""

    def __init__(self, settings: ChainSettings, seconds: Seconds) -> None:
        super().__init__(settings, Execution(settings.trainer, None))
        self.timed = TimedEstimator(super().build_estimator(), seconds)

    def build_estimator(self) -> TimedEstimator:
        """The timed estimator."""
        return self.timed


class TimedRecord(Record):
    """A record with the processor time of its lines."""

    seconds: Seconds

    def generation(self, *arguments: Any, **named: Any) -> None:
        """Write a generation."""
        with clock(self.seconds, "record"):
            super().generation(*arguments, **named)


@contextmanager
def clock(seconds: Seconds, name: str) -> Iterator[None]:
    """Add the processor time of a block of code, and count the block."""
    begun = time.process_time()
    yield
    seconds[name] += time.process_time() - begun
    seconds[CLOCKED] += 1


def clock_seconds() -> float:
    """What a clock itself takes, which is no part of the work."""
    seconds, blocks = defaultdict[str, float](float), 10_000
    begun = time.process_time()
    for _ in range(blocks):
        with clock(seconds, "nothing"):
            pass
    return (time.process_time() - begun - seconds["nothing"]) / blocks


def whole_run(settings: ChainSettings, block: int, folder: Path, seconds: Seconds) -> Blocks:
    """The chain as ``train.py`` runs it; generation 0, a segment of its own, is not in any block."""
    family = TimedFamily(settings, seconds)
    identity = ChainIdentity("benchmark", "benchmark", family.name, family.title, "replace", 0)
    config = {"generations": settings.generations}
    with TimedRecord(folder / "run", identity, config, views(settings.tracking, ())) as record:
        record.seconds = seconds
        works = run_chain(settings, family, Store(folder / "store"), record)
        next(works)
        seconds.clear()
        while True:
            family.timed.iterations.clear()
            with clock(seconds, "all"):
                for _ in islice(works, block):
                    pass
            yield float(torch.stack(family.timed.iterations).mean())


def tuned_scikit_learn(options: argparse.Namespace) -> Contender:
    """scikit-learn with the number of threads that is faster in a few generations of one chain."""
    settings = chain_settings(1, options.block)
    found = {n: Contender("trial", 1, n, scikit_learn(settings, TRIAL_GENERATIONS, range(1))) for n in (1, 2)}
    for contender in 2 * list(found.values()):
        contender.advance(TRIAL_GENERATIONS)
    told = [f"{threads} thread(s): {median(trial.wall):.1f} ms on the wall" for threads, trial in found.items()]
    print("scikit-learn with " + ", ".join(told))
    best = min(found, key=lambda threads: median(found[threads].wall))
    chains = scikit_learn(settings, options.block, range(options.chains))
    return Contender(f"scikit-learn, {best} thread(s)", options.chains, best, chains)


def contenders(options: argparse.Namespace, folder: Path) -> list[Contender]:
    """scikit-learn, and this project at each number of replicates."""
    found = [tuned_scikit_learn(options)]
    for replicates in options.replicates:
        settings = chain_settings(replicates, options.block, options.wandb)
        seconds: Seconds = defaultdict(float)
        run = whole_run(settings, options.block, folder / str(replicates), seconds)
        fits = fit_and_draw(settings, options.block)
        found += [
            Contender(f"fit and draw, {replicates} replicates", replicates, 1, fits),
            Contender(f"whole run, {replicates} replicates", replicates, 1, run, shares=seconds),
        ]
    return found


def table(found: list[Contender]) -> str:
    """A line a contender: medians of both times, how many times faster than the first, and EM steps."""
    best_wall, best_processor = median(found[0].wall), median(found[0].processor)
    lines = [f"{'':32}{'wall ms':>10}{'ratio':>8}{'CPU ms':>10}{'ratio':>8}{'EM steps':>10}"]
    for contender in found:
        wall, processor = median(contender.wall), median(contender.processor)
        lines.append(
            f"{contender.name:32}{wall:10.3f}{best_wall / wall:8.1f}{processor:10.3f}{best_processor / processor:8.1f}"
            f"{np.mean(contender.iterations):10.1f}"
        )
    return "\n".join(lines)


def share_table(found: list[Contender]) -> str:
    """A line a whole run: processor time a generation of each kind of work, and of all that is not computing."""
    kinds = ("fit", "draw", "measure", "record")
    each_clock = clock_seconds()
    lines = [f"{'ms of CPU a generation':32}" + "".join(f"{kind:>10}" for kind in (*kinds, "the rest", "overhead"))]
    for contender in found:
        if shares := contender.shares:
            computing = sum(shares[kind] for kind in kinds[:3])
            scale = np.mean(contender.processor) * contender.replicates / shares["all"]
            rest = shares["all"] - computing - shares["record"] - shares[CLOCKED] * each_clock
            numbers = "".join(f"{scale * value:10.3f}" for value in (*(shares[kind] for kind in kinds), rest))
            overhead = (shares["record"] + rest) / computing
            lines.append(f"{contender.name:32}{numbers}{overhead:10.1%}")
            verdict = "passed" if overhead <= MOST_OVERHEAD else "failed"
            beside = f"beside fit, draw and measure {overhead:.1%} of them, at most {MOST_OVERHEAD:.0%}"
            lines.append(f"  {contender.name}: {beside}: ratio {overhead / MOST_OVERHEAD:.2f}, {verdict}")
    return "\n".join(lines)


def options_typed() -> argparse.Namespace:
    """Sizes from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument("--block", type=int, default=500)
    parser.add_argument("--replicates", type=int, nargs="+", default=[5, 100])
    parser.add_argument("--chains", type=int, default=5, help="chains of scikit-learn")
    parser.add_argument("--wandb", action="store_true", help="show the whole run to Weights & Biases, offline")
    parser.add_argument("--quick", action="store_true", help="200 generations in blocks of 100, two chains: a minute")
    options = parser.parse_args()
    if options.quick:
        options.generations, options.chains, options.block = 200, 2, 100
    return options


def main() -> None:
    """Run the blocks in turn and print the table."""
    options = options_typed()
    warnings.simplefilter("ignore", ConvergenceWarning)
    prepare_process(chain_settings(1, 1).trainer)
    torch.set_num_threads(1)
    print(f"inner loops ready after {seconds_to_make_ready():.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(options, Path(folder))
        for _ in range(options.generations // options.block):
            for contender in found:
                contender.advance(options.block)
        for contender in found:
            contender.blocks.close()
    print(f"paper_gmm, {options.generations} generations in blocks of {options.block}; per replicate and generation")
    print(table(found))
    print("\nRecord" + (" and Weights & Biases, offline" if options.wandb else "") + "; the rest is Trainer and store")
    print(share_table(found))


if __name__ == "__main__":
    main()
