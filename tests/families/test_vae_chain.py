"""Chains of VAEs end to end: every regime, streamed and stored; what is shared; what a kill leaves; what is shown."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from conftest import EXECUTION
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.images import as_grey, image_count, read_images
from modelcollapse.families.vae.network import load_network
from modelcollapse.families.vae.training_set import composed_images
from modelcollapse.regimes import REAL, Draw, Source, compose, with_history
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError

REGIMES = sorted(path.stem for path in (configuration_folder() / "regime").glob("*.yaml"))
POOLING = {"accumulate", "accumulate_subsample", "older", "general"}
"""Regimes that take from the sets of several generations."""
VAE = ("model=vae", "data=digits", "decoding=none", *EXECUTION)
TINY = (
    *VAE,
    "generations=2",
    "data.train_rows=120",
    "data.validation_rows=24",
    "data.test_rows=30",
    "model.architecture.channels=2",
    "model.architecture.latents=3",
    "model.training.epochs=1",
    "model.training.batch_size=16",
    "model.classifier.epochs=1",
    "model.evaluation.samples=30",
    "model.evaluation.latent_samples=20",
    "model.evaluation.shown=4",
)
RESERVE = "data.reserve=0.7"
"""Leaves 36 rows, and enough for two generations of fresh ones."""
ROWS = 36


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for the module: generation 0 and the classifier are fitted once."""
    return tmp_path_factory.mktemp("store")


def metrics_of(run):
    return [work.result.metrics for work in run.works]


@pytest.mark.parametrize("synthesis", ["fixed", "stream"])
@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime(chain, compose_values, store, regime, synthesis):
    overrides = (*TINY, RESERVE, f"regime={regime}", f"model.synthesis={synthesis}")
    if synthesis == "stream" and regime in POOLING:
        with pytest.raises(SettingsError, match=r"model\.synthesis: 'stream' stores no synthetic images, and regime="):
            read_chain_settings(compose_values(*overrides))
        return
    run = chain(*overrides, store=store)
    for metrics in metrics_of(run):
        assert all(np.isfinite(value) for value in metrics.values())
        shares = [value for name, value in metrics.items() if name.startswith("synthetic/class_share/")]
        assert len(shares) == 10
        assert sum(shares) == pytest.approx(1)
        assert metrics["test/elbo"] == pytest.approx(-metrics["test/reconstruction"] - metrics["test/kl"])
    assert len({work.result.metrics["test/elbo"] for work in run.works}) == 3
    assert_trained_on(run, regime)


def assert_trained_on(run, regime):
    """Generation 2's training set, resolved from the store, has the rows that the regime asks for."""
    settings, model = run.settings, run.generations()[2].artifacts["model"]
    folders = {role: run.store.obtain(artifact) for role, artifact in model.parents.items()}
    first, second = (compose(settings.regime, generation, settings.seed) for generation in (1, 2))
    draws = with_history(second, first)
    training = composed_images(draws, folders, image_count(folders["real"], "train"))
    total = {"accumulate": 3, "augment": 2, "grown_replace": 2, "golden_ratio": 2}.get(regime, 1) * ROWS
    real = {"real": ROWS, "preserve": 4, "fresh": 4, "augment": ROWS, "golden_ratio": ROWS}.get(regime, 0)
    assert training.rows == total
    assert float(training.weights.mean()) == pytest.approx(1)
    if settings.model.synthesis == "stream":
        assert training.held == real
        if real:
            assert training.images.dtype == torch.uint8
    else:
        assert training.held == total


def test_generation_0_is_one_model_for_all_regimes_and_ways_of_synthesis(chain, store):
    declared = [
        chain(*TINY, f"regime={regime}", *more, store=store, execute=False).generations()
        for regime, more in (
            ("replace", ()),
            ("preserve", ()),
            ("accumulate", ("model.synthesis=fixed",)),
            ("augment", ("model.synthesis=fixed",)),
            ("replace", ("model.training.epochs=2", "model.training.generation0_epochs=1")),
        )
    ]
    assert len({generations[0].artifacts["model"].key for generations in declared}) == 1
    accumulate, augment = declared[2], declared[3]
    assert accumulate[1].artifacts["model"].key == augment[1].artifacts["model"].key
    assert accumulate[2].artifacts["model"].key != augment[2].artifacts["model"].key


def test_what_is_measured_refits_nothing(chain, store):
    chain(*TINY, store=store)
    again = chain(*TINY, "model.evaluation.latent_samples=10", store=store)
    steps = ("measuring samples", "KID", "precision and recall")
    assert again.computed() == [f"generation {number} · {step}" for number in range(3) for step in steps]


def test_seeds_share_the_classifier_and_nothing_that_is_random(chain, store):
    first, second = (chain(*TINY, f"seed={seed}", store=store, execute=False).generations() for seed in (0, 1))
    classifiers = {generation.artifacts["measures"].parents["classifier"].key for generation in (*first, *second)}
    assert len(classifiers) == 1
    for one, other in zip(first, second, strict=True):
        for role in ("model", "synthetic", "measures"):
            assert one.artifacts[role].key != other.artifacts[role].key


def test_a_stored_set_is_the_decoders_means_at_normal_latents(chain, store):
    run = chain(*TINY, "model.synthesis=fixed", store=store)
    artifacts = run.generations()[1].artifacts
    model = load_network(run.settings.model.architecture, run.store.folder(artifacts["model"]) / "network.safetensors")
    latents = torch.randn(120, 3, generator=Stream(0, 1, "synthesis").torch())
    stored = read_images(run.store.folder(artifacts["synthetic"]), "train")
    with torch.no_grad():
        assert (stored.float() - as_grey(model.decoder(latents)).float()).abs().max() <= 0.125
    assert abs(float(latents.mean())) < 0.2
    assert float(latents.std()) == pytest.approx(1, abs=0.2)


def test_a_streamed_set_is_the_decoder_and_nothing_of_the_size_of_a_data_set(chain, store):
    run = chain(*TINY, store=store)
    artifacts = run.generations()[1].artifacts
    folder = run.store.folder(artifacts["synthetic"])
    decoder = load_file(folder / "decoder.safetensors")
    model = load_file(run.store.folder(artifacts["model"]) / "network.safetensors")
    assert {f"decoder.{name}" for name in decoder} == {name for name in model if name.startswith("decoder.")}
    assert all(torch.equal(weights, model[f"decoder.{name}"]) for name, weights in decoder.items())
    assert json.loads((folder / "stream.json").read_text()) == {"rows": 120}
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert sum(sizes) < 120 * 28 * 28


def test_rows_that_two_draws_share_are_weighted(tmp_path, chain, store):
    run = chain(*TINY, store=store)
    generations = run.generations()
    folders = {
        "real": run.store.folder(generations[0].artifacts["model"].parents["real"]),
        "synthetic_0": run.store.folder(generations[0].artifacts["synthetic"]),
    }
    draws = (Draw((REAL,), weight=0.75), Draw((Source("synthetic", 0),), weight=0.25))
    training = composed_images(draws, folders, 120)
    assert (training.held, training.rows) == (120, 240)
    assert training.weights[:120].tolist() == [1.5] * 120
    assert training.weights[120:].tolist() == [0.5] * 120


@pytest.mark.parametrize(("epoch_size", "steps"), [("training_set", 15), ("real", 8)])
def test_an_epoch_is_as_long_as_asked(chain, store, epoch_size, steps):
    """Generation 1 of augment has 240 rows, in batches of 16."""
    overrides = (*TINY, "regime=augment", "generations=1", f"model.training.epoch_size={epoch_size}")
    run = chain(*overrides, store=store)
    assert [work.result.epochs[-1]["step"] for work in run.works] == [8, steps]


def test_half_precision_is_another_key_and_works(chain, tmp_path, store):
    full = chain(*TINY, store=store, execute=False).generations()
    half = chain(*TINY, "trainer.precision=bf16-mixed", "generations=1", store=tmp_path / "store")
    for role, artifact in half.generations()[0].artifacts.items():
        # A streamed set is the decoder itself, whatever the arithmetic; its key differs by its parent's.
        assert artifact.key != full[0].artifacts[role].key
    assert all(np.isfinite(value) for metrics in metrics_of(half) for value in metrics.values())


# ---- kills ----------------------------------------------------------------------------------------------------

LONGER = ("model.training.epochs=3", "regime=preserve", "regime.real=0.5", "generations=1")


def kill_at_step(run, step):
    """Run in a forked child that kills itself after so many optimiser steps of generation 1."""
    child = os.fork()
    if child == 0:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        steps = iter(range(1, 10_000))
        register_optimizer_step_post_hook(
            lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(steps) == step else None
        )
        try:
            run()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("step", [1, 19])
def test_a_killed_fit_goes_on_to_the_same_bits(chain, tmp_path, store, step):
    """Generation 1 has 8 steps an epoch, half real rows, half streamed: killed in its first and third epoch."""
    whole = chain(*TINY, *LONGER, store=store)
    killed = tmp_path / "killed"
    chain(*TINY, *LONGER, "generations=0", store=killed)
    kill_at_step(lambda: chain(*TINY, *LONGER, store=killed), step)
    mended = chain(*TINY, *LONGER, store=killed)
    assert "generation 1 · fit" in mended.computed()
    for role, artifact in whole.generations()[1].artifacts.items():
        for path in sorted(whole.store.folder(artifact).iterdir()):
            if path.name != "manifest.json":
                assert path.read_bytes() == (mended.store.folder(artifact) / path.name).read_bytes(), (role, path.name)


def test_an_epoch_that_was_finished_is_not_done_again(chain, tmp_path):
    """Of 24 steps, those of two finished epochs are kept."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    store = tmp_path / "store"
    chain(*TINY, *LONGER, "generations=0", store=store)
    kill_at_step(lambda: chain(*TINY, *LONGER, store=store), 19)
    steps = []
    handle = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    chain(*TINY, *LONGER, store=store)
    handle.remove()
    assert len(steps) == 8


def test_weights_can_be_dropped_on_the_way(chain, tmp_path):
    overrides = (*TINY, "store.keep=ends")
    run = chain(*overrides, store=tmp_path / "store")
    there = [run.store.has(generation.artifacts["model"]) for generation in run.generations()]
    assert there == [True, False, True]
    again = chain(*overrides, store=tmp_path / "store")
    assert again.computed() == []
    assert metrics_of(again) == metrics_of(run)
    assert again.bytes("training.jsonl") == run.bytes("training.jsonl")


# ---- what people see ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["generation0", "previous"])
def test_a_generation_can_start_from_another(chain, store, init):
    run = chain(*TINY, f"model.init={init}", "model.training.learning_rate=1e-12", store=store)
    first, last = (
        load_file(run.store.folder(run.generations()[number].artifacts["model"]) / "network.safetensors")
        for number in (0, 2)
    )
    assert all(torch.allclose(first[name], last[name], atol=1e-9) for name in first)


def test_the_command_leaves_tables_and_figures_and_does_nothing_twice(train, tmp_path):
    overrides = (*TINY, "generations=1")
    finished = train(*overrides)
    assert (finished.code, finished.err) == (0, "")
    assert "ELBO (real test, nats)" in finished.out
    figures = {path.name for path in (finished.folder / "figures").iterdir()}
    names = [
        "samples_by_generation",
        "latent_densities",
        "latents_by_generation",
        "samples_measured_by_generation",
        "elbo_by_generation",
    ]
    assert figures == {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    table = pd.read_parquet(finished.folder / "latent_means.parquet")
    assert table.groupby("generation").size().to_dict() == {-1: 60, 0: 60, 1: 60}
    for number, line in enumerate(finished.lines()):
        spread = table[table["generation"] == number]["latent_mean"].std()
        assert line["synthetic/latent_spread"] == pytest.approx(spread, rel=1e-5)
    again = train(*overrides)
    assert "nothing was computed" in again.out
    assert again.bytes() == finished.bytes()


@pytest.mark.parametrize("overrides", [("model=vae",), ("model=vae", "decoding=none"), ("decoding=none", "data=mnist")])
def test_a_model_without_its_data_reports_what_goes_with_it(compose_values, overrides):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    assert all("choose" in problem for problem in caught.value.problems)


def test_fresh_rows_without_a_reserve_are_reported(compose_values):
    with pytest.raises(SettingsError, match=r"data\.reserve: 0 leaves no real data that was never seen before"):
        read_chain_settings(compose_values(*VAE, "regime=fresh"))


def test_bad_images_are_one_message(train, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"nonsense")
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(b"nonsense")
    finished = train(*VAE, "data=mnist", f"data.path={tmp_path}")
    assert finished.code == 2
    assert finished.err.startswith("error: ")
    assert "is no idx file of unsigned bytes in 3 dimensions" in finished.err
    assert "Traceback" not in finished.err


def test_the_papers_experiment_holds_the_papers_values(compose_values):
    settings = read_chain_settings(compose_values("experiment=paper_vae"))
    training, model = settings.model.training, settings.model
    assert settings.data.path == "ylecun/mnist"
    assert settings.regime.name == "replace"
    assert settings.generations == 20
    assert (model.architecture.channels, model.architecture.latents, model.beta) == (64, 20, 1.0)
    assert (training.epochs, training.batch_size) == (30, 256)
    assert (training.learning_rate, training.weight_decay) == (1e-3, 1e-5)
    assert (model.init, model.synthesis, model.evaluation.latent_samples) == ("fresh", "stream", 100)
