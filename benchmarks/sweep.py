"""What a chain of a sweep costs beyond its own compute: 50 chains of ``experiment=paper_discrete``, processor time.

    python benchmarks/sweep.py [--quick] [--chains 50] [--turns 1]

A sweep of all chains and one of two are run in turn, each with a store of its own, and every process that they start is
counted to its end. Their difference, over the chains that one has more, is what one chain more costs: the start of its
process, settings, Trainer, store, record and figures, and its part of the sweep's report. What it computes itself
(draws, fits and measures, by the estimator alone) is taken off.
"""

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.families.discrete.estimator import DiscreteEstimator
from modelcollapse.seeding import Stream

SWEEP = Path(__file__).parents[1] / "sweep.py"
COMMON = ("experiment=paper_discrete", "tracking=none", "trainer.threads=1", "trainer.accelerator=cpu")
ROWS = (30, 100)
"""Real rows: a chain of each for every seed."""
MOST_SECONDS = 1.0
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run the sweeps, and print what a chain costs beside what it may cost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chains", type=int, default=50, help="an even number")
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="4 chains of 20 generations")
    options = parser.parse_args()
    if options.quick:
        options.chains, options.generations = 4, 20
    # Processes whose parent has ended become this one's children, and are waited for and counted with the others.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own, few, many = [], [], []
    for _ in range(options.turns):
        own.append(statistics.mean(compute_seconds(rows, options.generations) for rows in ROWS))
        few.append(sweep_seconds(len(ROWS), options.generations))
        many.append(sweep_seconds(options.chains, options.generations))
    more = options.chains - len(ROWS)
    beyond = [(most - least) / more - compute for most, least, compute in zip(many, few, own, strict=True)]
    found = statistics.median(beyond)
    print(f"paper_discrete, {options.generations} generations, seconds of processor time")
    print(f"{len(ROWS)} chains {statistics.median(few):.1f}, {options.chains} chains {statistics.median(many):.1f}")
    print(f"own compute of a chain {statistics.median(own):.2f}")
    verdict = "passed" if found <= MOST_SECONDS else "failed"
    spread, ratio = f"({min(beyond):.2f} - {max(beyond):.2f})", found / MOST_SECONDS
    print(f"beyond it, a chain {found:.2f} {spread}, at most {MOST_SECONDS:g}: ratio {ratio:.2f}, {verdict}")


def sweep_seconds(chains: int, generations: int) -> float:
    """Processor time of a sweep, of all its processes."""
    seeds = ",".join(str(seed) for seed in range(chains // len(ROWS)))
    rows = ",".join(str(count) for count in ROWS)
    with tempfile.TemporaryDirectory() as folder:
        places = (f"hydra.sweep.dir={folder}/sweep", f"paths.store={folder}/store")
        command = [sys.executable, SWEEP, *COMMON, f"generations={generations}", f"seed={seeds}", f"data.rows={rows}"]
        before = _seconds_of_children()
        subprocess.run([*command, *places], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        _wait_for_the_rest()
        return _seconds_of_children() - before


def compute_seconds(rows: int, generations: int) -> float:
    """Processor time of the estimator's draws, fits and measures of a chain."""
    words = [*COMMON, f"data.rows={rows}", f"generations={generations}"]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        settings = read_chain_settings(OmegaConf.to_container(compose("train", overrides=words), resolve=True))
    begun = time.process_time()
    estimator = DiscreteEstimator(settings.model, settings.data)
    statistics_of, state, first = estimator.real_statistics(rows, Stream(0, 0, "real")), None, None
    for generation in range(generations + 1):
        state = estimator.fit_statistics(statistics_of, state, Stream(0, generation, "fit")).state
        first = first or state
        measured = {name: tensor[None] for name, tensor in state.items()}
        estimator.measure(measured, first, [Stream(0, generation, "measure")])
        statistics_of = estimator.draw_statistics(state, rows, Stream(0, generation, "synthesis"))
    return time.process_time() - begun


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_the_rest() -> None:
    """Wait for what outlived the command."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
