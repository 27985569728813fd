"""The engine that ``auto`` means: decided once, where a run or sweep is composed, and written down."""

import pytest
from hydra import compose, initialize_config_dir

from modelcollapse.config.composing import HYDRA_VERSION_BASE, settings_of
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.errors import UserError
from modelcollapse.sweeps.points import read_grid

ON_A_GPU, ON_A_CPU = "trainer.accelerator=gpu", "trainer.accelerator=cpu"


def read(*overrides):
    with initialize_config_dir(prepared_configuration(), version_base=HYDRA_VERSION_BASE):
        return settings_of(compose("train", overrides=["experiment=quickstart", *overrides]))


@pytest.mark.parametrize("overrides", [(ON_A_GPU,), ("trainer.accelerator=auto", "trainer.auto_engine=transformers")])
def test_on_a_gpu_auto_is_transformers_and_the_record_says_so(overrides):
    settings, values = read(*overrides)
    assert settings.decoding.engine == values["decoding"]["engine"] == "transformers"
    elsewhere = read_chain_settings({**values, "trainer": {**values["trainer"], "accelerator": "cpu"}})
    assert elsewhere.decoding.engine == "transformers"


def test_on_a_cpu_auto_leaves_the_choice_to_the_model():
    settings, values = read(ON_A_CPU)
    assert settings.decoding.engine == values["decoding"]["engine"] == "auto"
    assert settings.trainer.auto_engine is values["trainer"]["auto_engine"] is None


def test_an_engine_that_is_asked_for_by_name_is_taken_on_any_device():
    assert read(ON_A_GPU, "decoding.engine=native")[0].decoding.engine == "native"
    assert read(ON_A_CPU, "decoding.engine=transformers")[0].decoding.engine == "transformers"


def test_what_was_found_is_written_down_for_whoever_goes_on_elsewhere(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings, values = read("trainer.accelerator=auto")
    assert (settings.decoding.engine, values["trainer"]["auto_engine"]) == ("auto", "native")


def test_a_sweep_hands_on_to_each_chain_what_it_found(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    grid = read_grid(["experiment=quickstart", "trainer.accelerator=auto", "seed=0,1"])
    assert [point.overrides[-1] for point in grid.points] == ["trainer.auto_engine=native"] * 2
    assert grid.overrides[-1] == "trainer.auto_engine=native"


@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=quickstart", ON_A_CPU),
        ("experiment=quickstart", "trainer.accelerator=auto", "trainer.auto_engine=transformers"),
        ("experiment=paper_gmm", "trainer.accelerator=auto"),
    ],
)
def test_a_sweep_hands_on_nothing_that_its_settings_say_already(overrides):
    for point in read_grid([*overrides, "seed=0,1"]).points:
        assert sum("auto_engine" in override for override in point.overrides) == ("auto_engine" in " ".join(overrides))


def test_an_engine_that_is_none_is_refused():
    with pytest.raises(UserError, match="auto_engine"):
        read_grid(["experiment=quickstart", "trainer.auto_engine=vllm", "seed=0"])
