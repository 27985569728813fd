"""Presets of ``debug=``: composed after the experiment, and before what is typed."""

import pytest

from modelcollapse.config.settings import read_chain_settings

FAMILIES = {
    "language_model": ("experiment=quickstart",),
    "base": ("experiment=small_opt", "model.base.text=base.txt", "data.path=folder"),
    "pretrained": ("experiment=paper_opt",),
    "vae": ("experiment=paper_vae",),
    "digits": ("experiment=paper_vae", "data=digits"),
    "gaussian": ("experiment=paper_gaussian",),
    "gaussian_mixture": ("experiment=paper_gmm",),
    "discrete": ("experiment=paper_discrete",),
}


@pytest.mark.parametrize("overrides", FAMILIES.values(), ids=FAMILIES)
def test_a_fast_run_is_one_small_generation_of_whatever_experiment(compose_values, overrides):
    values = compose_values(*overrides, "debug=fast")
    settings = read_chain_settings(values)
    assert settings.generations == 1
    if "training" in values["model"]:
        assert (settings.model.training.epochs, settings.model.training.generation0_epochs) == (1, None)
    else:
        assert settings.model.replicates == 10
    assert max(value for name, value in values["data"].items() if name.endswith(("rows", "blocks"))) <= 512


def test_what_is_typed_wins_over_a_preset(compose_values):
    values = compose_values("debug=fast", "generations=3", "model.training.epochs=2", "data.train_blocks=99")
    assert (values["generations"], values["model"]["training"]["epochs"], values["data"]["train_blocks"]) == (3, 2, 99)


def test_overfitting_takes_few_batches_again_and_again_and_profiling_a_profiler(compose_values):
    overfit, profile = (read_chain_settings(compose_values(f"debug={name}")) for name in ("overfit", "profile"))
    assert overfit.trainer.overfit_batches == 3
    assert overfit.model.training.epochs == 20
    assert profile.trainer.profiler == "simple"


FAST = {
    "language_model": ("data.language.topics=2", "data.block_length=8", "trainer.profiler=simple"),
    "vae": ("experiment=paper_vae", "data=digits", "model.architecture.channels=4", "trainer.micro_batch_size=100"),
    "discrete": ("experiment=paper_discrete",),
}


@pytest.mark.parametrize("overrides", FAST.values(), ids=FAST)
def test_a_fast_run_ends(train, overrides):
    finished = train("debug=fast", "tracking=none", "trainer.threads=1", "trainer.accelerator=cpu", *overrides)
    assert finished.code == 0, finished.err
    assert len(finished.lines()) == 2
    profiles = sorted(path.name for path in finished.folder.glob("profiles/*"))
    asked = "trainer.profiler=simple" in overrides
    assert profiles == (["fit-generation-0-fit.txt", "fit-generation-1-fit.txt"] if asked else [])
    assert all("run_training_batch" in path.read_text() for path in finished.folder.glob("profiles/*"))
