"""Sweeps of run folders as the record writes them, without training anything."""

import numpy as np
import pytest

from modelcollapse.record import ChainIdentity, Record

PIECE_KEY = "9" * 32


def metrics_of(generation, seed, effect):
    """A perplexity that seeds shift by much, and regimes by little."""
    return {
        "test/perplexity": 30.0 + 10 * seed + effect * generation,
        "synthetic/distinct_2": 0.9 - 0.1 * generation,
        "synthetic/reference_perplexity/median": 20.0 + generation,
    }


def config_of(penalty=1.0, generations=3, **regime):
    return {
        "model": {"family": "language_model", "name": "OPT test"},
        "decoding": {"repetition_penalty": penalty},
        "regime": {"name": regime.get("name", "replace"), "real": regime.get("real", 0.0)},
        "paths": {"store": "a store"},
        "generations": generations,
    }


def write_run(
    folder,
    *,
    regime="replace",
    seed=0,
    penalty=1.0,
    effect=1.0,
    generations=3,
    recorded=None,
    texts=None,
    family="language_model",
    metrics=metrics_of,
    config=None,
    experiment="paper_opt",
):
    """A run folder of a language model's chain, unfinished where ``recorded`` is less than the generations + 1."""
    settings = config or config_of(penalty, generations, name=regime)
    identity = ChainIdentity(f"{family}-{regime}-{seed}-{penalty}", experiment, family, "OPT test", regime, seed)
    recorded = generations + 1 if recorded is None else recorded
    random = np.random.default_rng(seed)
    with Record(folder, identity, settings) as record:
        for generation in range(recorded):
            record.timing(generation, "model", 60.0, computed=True, key=f"key {generation}")
            record.generation(
                generation,
                metrics(generation, seed, effect),
                distributions={
                    "synthetic/reference_loss": random.normal(3 - 0.4 * generation, 0.5, 200),
                    "real/validation_loss": random.normal(3, 0.5, 200),
                },
                samples=[{"prompt": f"Prompt {n}", "continuation": (texts or str)(generation)} for n in (1, 2)],
                artifacts={"model": PIECE_KEY},
            )
        if recorded <= generations:
            record.finish("interrupted")
    return folder


def write_grid(folder, *, seeds=(0, 1, 2), regimes=("replace", "preserve"), penalties=(1.0,), **more):
    """A sweep folder; ``preserve`` loses less."""
    points = [(seed, regime, penalty) for seed in seeds for regime in regimes for penalty in penalties]
    for number, (seed, regime, penalty) in enumerate(points):
        effect = {"replace": 2.0, "preserve": 0.5, "accumulate": 0.1}[regime]
        write_run(folder / str(number), regime=regime, seed=seed, penalty=penalty, effect=effect, **more)
    return folder


@pytest.fixture
def grid():
    """Write a sweep folder."""
    return write_grid


@pytest.fixture
def one_run():
    """Write a run folder."""
    return write_run


@pytest.fixture
def grid_config():
    """The configuration of such a run."""
    return config_of
