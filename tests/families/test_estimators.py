"""Estimator families: what a generation trains on, what a kill or another length of segments changes (nothing)."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from conftest import read
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.families.estimators.estimator import Fitted
from modelcollapse.families.estimators.settings import bytes_per_replicate
from modelcollapse.families.estimators.training import Samples, TrainingSets
from modelcollapse.regimes import (
    REAL,
    RegimeSettings,
    compose,
    fresh_rows,
    resolve,
    rows_of,
    synthetic_rows,
    with_history,
)
from modelcollapse.regimes.rules import RegimeReader
from modelcollapse.settings import SettingsError

REGIME_FOLDER = configuration_folder() / "regime"
REGIMES = sorted(path.stem for path in REGIME_FOLDER.glob("*.yaml"))
WITHOUT_SAMPLES = ("accumulate", "augment", "grown_replace", "real", "replace")
SMALL = ("decoding=none", "tracking=none", "trainer.threads=1", "model.replicates=4", "data.rows=20", "generations=3")
GAUSSIAN = (*SMALL, "model=gaussian", "data=gaussian_samples", "data.mean=[0,1]", "data.covariance=[[1,0.5],[0.5,2]]")
FAMILIES = {
    "gaussian": (*GAUSSIAN, "model.synthesis=samples"),
    "gaussian by statistics": GAUSSIAN,
    "discrete": (*SMALL, "model=discrete", "data=categorical_samples", "model.synthesis=samples"),
    "discrete by statistics": (*SMALL, "model=discrete", "data=categorical_samples"),
    "gaussian_mixture": (*SMALL, "model=gaussian_mixture", *GAUSSIAN[-3:]),
    "linear_regression": (*SMALL, "model=linear_regression", "data=linear_samples", "model.synthesis=samples"),
    "linear_regression by statistics": (*SMALL, "model=linear_regression", "data=linear_samples"),
    "logistic_regression": (*SMALL, "model=logistic_regression", "data=logistic_samples", "model.ridge=0.1"),
    "kernel_density": (*SMALL, "model=kernel_density", "data=shapes", "model.centres=80"),
}
ALWAYS = ("accumulate", "general", "golden_ratio", "replace")
"""Regimes under which every family is seen; the mixture is seen under all, and by ``-m slow`` every family is."""
POSSIBLE = [
    pytest.param(family, regime, marks=() if family == "gaussian_mixture" or regime in ALWAYS else pytest.mark.slow)
    for family in FAMILIES
    for regime in REGIMES
    if "statistics" not in family or regime in WITHOUT_SAMPLES
]


@pytest.mark.parametrize(("family", "regime"), POSSIBLE)
def test_every_family_runs_under_every_regime(chain, family, regime):
    works = chain(*FAMILIES[family], f"regime={regime}").works
    assert [work.generation.number for work in works] == [0, 1, 2, 3]
    for work in works:
        means = {name: value for name, value in work.result.metrics.items() if name.endswith("/mean")}
        assert means
        assert all(np.isfinite(value) for value in means.values()), means
    metrics = [work.result.metrics for work in works]
    # Where nothing but the same real data is seen, and estimated without chance, nothing changes; else all does.
    same = regime == "real" and family != "gaussian_mixture"
    assert all((later != metrics[0]) is not same for later in metrics[1:])


@pytest.mark.parametrize(
    "family", ["gaussian by statistics", "discrete by statistics", "linear_regression by statistics"]
)
@pytest.mark.parametrize("regime", sorted(set(REGIMES) - set(WITHOUT_SAMPLES)))
def test_a_regime_that_needs_samples_is_refused_without_them(compose_values, family, regime):
    with pytest.raises(SettingsError, match=r"model\.synthesis: 'statistics' .* it must be samples"):
        read_chain_settings(compose_values(*FAMILIES[family], f"regime={regime}"))


@pytest.mark.parametrize("family", ["gaussian", "discrete", "gaussian_mixture", "linear_regression", "kernel_density"])
def test_choosing_a_model_only_reports_what_goes_with_it(compose_values, family):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(f"model={family}"))
    groups = [problem.partition(":")[0] for problem in caught.value.problems]
    assert groups == ["data.kind", "decoding.kind"]
    for problem in caught.value.problems:
        overrides = problem.rpartition("choose ")[2].split()
        assert read_chain_settings(compose_values(f"model={family}", *overrides)).model.family == family


def test_a_device_that_would_not_be_used_is_refused(chain):
    with pytest.raises(SettingsError, match=r"trainer\.accelerator: 'gpu'"):
        chain(*GAUSSIAN, "trainer.accelerator=gpu", execute=False)


@pytest.mark.parametrize(
    ("overrides", "beginning"),
    [
        (("data.mean=[]",), "data.mean: [] is not allowed"),
        (("data.mean=[0]",), "data.covariance: [[1.0, 0.5], [0.5, 2.0]] must have 1 rows of 1 numbers"),
        (("data.covariance=[[1,0.5],[0.4,2]]",), "data.covariance: [[1.0, 0.5], [0.4, 2.0]] must be symmetric"),
        (
            ("data.covariance=[[1,2],[2,1]]",),
            "data.covariance: [[1.0, 2.0], [2.0, 1.0]] must be symmetric and positive definite",
        ),
        (("data.rows=2",), "data.rows: 2 rows leave a covariance of 2 dimensions singular"),
    ],
)
def test_a_gaussian_that_does_not_exist_is_refused(compose_values, overrides, beginning):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*GAUSSIAN, *overrides))
    assert caught.value.problems[0].startswith(beginning)


# ---- what a generation trains on ----------------------------------------------------------------------------------

ROWS, REPLICATES = 10, 3
BLOCK = 1000
"""Rows are numbered; those of a set begin at its block."""


class NumberedRows:
    """An estimator whose rows say which set and which place in it they are from."""

    def real(self, rows, stream):
        return self._numbered(0 if stream.stage == "real" else stream.generation, rows)

    def draw(self, state, rows, stream):
        assert state["generation"] == stream.generation
        return self._numbered(100 + stream.generation, rows)

    def fit(self, data, weights, previous, stream):
        return Fitted({})

    def _numbered(self, block, rows):
        return (torch.arange(rows, dtype=torch.float64) + block * BLOCK).expand(REPLICATES, -1)[:, :, None]


def _block(source):
    return {"real": 0, "fresh": source.generation, "synthetic": 100 + (source.generation or 0)}[source.kind]


def _size(regime, source):
    if source.kind == "synthetic":
        return rows_of(synthetic_rows(regime, source.generation), ROWS)
    return ROWS if source == REAL else fresh_rows(regime, ROWS)


@pytest.mark.parametrize("generation", [0, 1, 2, 5])
@pytest.mark.parametrize("name", REGIMES)
def test_a_training_set_is_what_the_regime_composes(name, generation):
    regime = RegimeReader().read(yaml.safe_load((REGIME_FOLDER / f"{name}.yaml").read_text()), "regime", [])
    states = {earlier: {"generation": earlier} for earlier in range(generation)}
    draws = ()
    for number in range(generation + 1):
        draws = with_history(compose(regime, number, 7), draws)
    found = TrainingSets(Samples(NumberedRows()), regime, 7, ROWS).compose(generation, draws, states)
    sizes = {source: _size(regime, source) for draw in draws for source in draw.sets}
    parts = resolve(draws, sizes, ROWS)
    expected = sorted((_block(part.source) * BLOCK + int(row), part.weight) for part in parts for row in part.indices)
    weights = torch.ones(found.rows.shape[1]) if found.weights is None else found.weights
    first = sorted(zip(found.rows[0, :, 0].tolist(), weights.tolist(), strict=True))
    assert np.array(first) == pytest.approx(np.array(expected))
    if any(draw.stream is not None for draw in draws):
        chosen = {tuple(sorted(replicate)) for replicate in found.rows[:, :, 0].tolist()}
        assert len(chosen) == REPLICATES, "replicates share their draw"


# ---- artifacts -------------------------------------------------------------------------------------------------------

LONG = (*GAUSSIAN, "generations=11", "model.segment_length=4")


def _files(found):
    """The bytes of every state and measure of every generation, whatever the segments."""
    tensors = {}
    for generation in found.generations():
        folder = found.store.folder(generation.artifacts["model"])
        first = json.loads((folder / "generations.json").read_text())["first"]
        for role, name in (("model", "states"), ("model", "diagnostics"), ("measures", "measures")):
            file = found.store.folder(generation.artifacts[role]) / f"{name}.safetensors"
            for key, values in load_file(file).items():
                tensors[generation.number, name, key] = values[generation.number - first].numpy().tobytes()
    return tensors


@pytest.mark.parametrize("regime", ["accumulate", "accumulate_subsample", "older", "fresh", "general"])
def test_a_chain_that_is_stopped_and_lengthened_has_the_bits_of_one_run_at_once(chain, tmp_path, regime):
    overrides = (*LONG, f"regime={regime}", "model.synthesis=samples")
    whole = chain(*overrides, store=tmp_path / "whole")
    shorter = chain(*overrides, "generations=8")
    lengthened = chain(*overrides)
    assert lengthened.computed() == ["generations 9 to 11", "generations 9 to 11 · measuring"]
    assert [work.generation.artifacts for work in shorter.works] == [
        w.generation.artifacts for w in lengthened.works[:9]
    ]
    assert _files(lengthened) == _files(whole)
    assert lengthened.bytes() == whole.bytes()


@pytest.mark.parametrize(
    "family", ["gaussian by statistics", "discrete by statistics", "linear_regression by statistics"]
)
@pytest.mark.parametrize("regime", ["accumulate", "augment"])
def test_without_samples_the_bits_do_not_depend_on_the_segments(chain, tmp_path, family, regime):
    overrides = (*FAMILIES[family], f"regime={regime}", "generations=7")
    short, long = (_files(chain(*overrides, f"model.segment_length={n}", store=tmp_path / str(n))) for n in (2, 100))
    assert short == long


KILLED = """
import os, signal, sys
from pathlib import Path
published = 0
def kill(event, arguments):
    global published
    if event == "os.rename" and "model" in Path(arguments[1]).parts:
        published += 1
        if published == 3:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
from modelcollapse.commands.run import train
train()
"""


def test_a_chain_that_is_killed_goes_on_at_the_last_segment_with_the_same_bits(chain, tmp_path):
    overrides = [*LONG, "regime=accumulate"]
    places = [f"paths.store={tmp_path / 'killed'}", f"hydra.run.dir={tmp_path / 'run'}"]
    typed = [sys.executable, "-c", KILLED, *overrides, *places]
    killed = subprocess.run(typed, cwd=tmp_path, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "killed" / "model").glob("[0-9a-f]*"))) == 2
    resumed, whole = (chain(*overrides, store=tmp_path / name) for name in ("killed", "whole"))
    segments = ("generations 5 to 8", "generations 9 to 11")
    assert resumed.computed() == [label for each in segments for label in (each, f"{each} · measuring")]
    assert _files(resumed) == _files(whole)
    for name in ("generations.jsonl", "histograms.jsonl", "provenance.jsonl"):
        assert resumed.bytes(name) == whole.bytes(name), name


def test_all_regimes_share_generation_0_and_those_that_mean_the_same_share_more(chain):
    overrides = (*FAMILIES["gaussian"], "model.segment_length=1")
    keys = {
        regime: [
            generation.artifacts["model"].key
            for generation in chain(*overrides, f"regime={regime}", execute=False).generations()
        ]
        for regime in REGIMES
    }
    assert len({found[0] for found in keys.values()}) == 1
    assert keys["accumulate"][1] == keys["augment"][1]
    assert keys["accumulate"][2] != keys["augment"][2]
    assert keys["replace"][1] == keys["grown_replace"][1]
    assert keys["preserve"][1] == keys["older"][1]
    assert len({found[1] for found in keys.values()}) == len(REGIMES) - 3
    assert len({found[3] for found in keys.values()}) == len(REGIMES)
    same = chain(*overrides, "regime=preserve", "regime.real=0", execute=False).generations()
    assert [generation.artifacts["model"].key for generation in same] == keys["replace"]


@pytest.mark.parametrize(
    "word",
    ["seed=1", "data.rows=21", "model.replicates=5", "model.estimator=biased", "model.synthesis=statistics"],
)
def test_what_changes_the_numbers_changes_the_key(chain, word):
    artifacts = [
        chain(*FAMILIES["gaussian"], *more, execute=False).generations()[0].artifacts for more in ((), (word,))
    ]
    assert artifacts[0] != artifacts[1]


def test_names_are_in_no_key(chain):
    overrides = ("model.name=another", "data.name=another", "regime.name=another")
    artifacts = [chain(*GAUSSIAN, *more, execute=False).generations()[3].artifacts for more in ((), overrides)]
    assert artifacts[0] == artifacts[1]


def test_seeds_give_independent_replicates(chain, tmp_path):
    states = []
    for seed in (0, 1):
        found = chain(*GAUSSIAN, f"seed={seed}", store=tmp_path / str(seed))
        folder = found.store.folder(found.generations()[3].artifacts["model"])
        states.append(load_file(folder / "states.safetensors")["mean"])
    assert not set(states[0].flatten().tolist()) & set(states[1].flatten().tolist())


def test_a_long_chain_is_reported_in_few_lines(train):
    finished = train(*LONG, "generations=60", "model.segment_length=20")
    assert finished.code == 0, finished.err
    printed = [line for line in finished.out.splitlines() if line.startswith("generation ")]
    assert len(printed) <= 20
    assert printed[-1].startswith("generation 60 ")
    assert not any("from the store" in line for line in printed)
    assert len(finished.lines()) == 61
    assert "8 artifacts to compute, 0 of 8 results" in finished.out


# ---- memory -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_machine(monkeypatch):
    monkeypatch.setattr("modelcollapse.families.estimators.settings.physical_memory", lambda: 10**9)


@pytest.mark.parametrize(
    ("family", "ways"),
    [
        ("gaussian", "model.synthesis=statistics, which holds no samples, model.replicates=20, "),
        ("discrete", "model.synthesis=statistics, which holds no samples, model.replicates=41, "),
        ("gaussian_mixture", "model.replicates=20, "),
    ],
)
def test_sets_that_do_not_fit_into_memory_are_refused_with_what_to_set_instead(
    compose_values, small_machine, family, ways
):
    overrides = (*FAMILIES[family], "regime=accumulate", "generations=1000", "data.rows=1000", "model.replicates=60")
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    (problem,) = caught.value.problems
    needed = 2.9 if family != "discrete" else 1.4
    assert problem.startswith(f"model.replicates: 60 chains under regime=accumulate hold samples of {needed} GB at")
    assert f"this machine has 1.0 GB; choose {ways}" in problem
    fitting = problem.partition("model.replicates=")[2].partition(",")[0]
    read_chain_settings(compose_values(*overrides, f"model.replicates={fitting}"))


@pytest.mark.parametrize("overrides", [("regime=replace",), ("regime=accumulate", "model.synthesis=statistics")])
def test_what_holds_few_samples_is_not_refused(compose_values, small_machine, overrides):
    long = ("generations=1000", "data.rows=1000", "model.replicates=60")
    read_chain_settings(compose_values(*FAMILIES["gaussian"], *long, *overrides))


def test_the_estimated_memory_is_what_a_training_set_takes():
    regime = read(RegimeSettings, yaml.safe_load((REGIME_FOLDER / "accumulate.yaml").read_text()))
    sets = TrainingSets(Samples(NumberedRows()), regime, 7, ROWS)
    found = sets.compose(5, compose(regime, 5, 7), {earlier: {"generation": earlier} for earlier in range(5)})
    trained = found.rows[0].nbytes
    assert bytes_per_replicate(ROWS, 1, regime, 5) == 3 * trained
