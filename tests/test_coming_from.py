"""Names that people bring along from other tools: each is taken, or refused with what to type instead."""

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from pytorch_lightning import Trainer

from conftest import run_command
from modelcollapse.commands import coming_from
from modelcollapse.config.composing import HYDRA_VERSION_BASE, settings_of
from modelcollapse.config.explaining import explained
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.config.other_names import HUGGING_FACE, LIGHTNING, SECTIONS, advice
from modelcollapse.record import tracking
from modelcollapse.settings import SettingsError

NAMES = {each.name: each for names in SECTIONS.values() for each in names}


@pytest.fixture
def message():
    """What is wrong with overrides, as the command prints it; nothing where they are accepted."""

    def read(*overrides):
        try:
            settings_of(compose("train", overrides=list(overrides)))
        except HydraException as error:
            return explained(error)
        except SettingsError as error:
            return str(error)
        return ""

    with initialize_config_dir(prepared_configuration(), version_base=HYDRA_VERSION_BASE):
        yield read


def test_what_is_taken_is_accepted_as_it_is_typed(message):
    wrong = {name: message(*each.typed) for name, each in NAMES.items() if each.typed}
    assert not {name: text for name, text in wrong.items() if text}


def test_what_is_refused_says_what_to_type_instead(message):
    refused = [name for name, each in NAMES.items() if not each.is_taken and each not in HUGGING_FACE]
    said = {name: message(name if "=" in name else f"{name}=1") for name in refused}
    assert {name: text for name, text in said.items() if NAMES[name].say not in text} == {}


def test_names_of_transformers_are_known_wherever_they_are_typed(message):
    for each in HUGGING_FACE:
        assert advice(each.name) == advice(f"model.training.{each.name}") == each.say
    for typed in ("per_device_train_batch_size=8", "trainer.learning_rate=1e-4", "model.training.num_train_epochs=3"):
        assert NAMES[typed.partition("=")[0].rpartition(".")[2]].say in message(typed)


@pytest.mark.parametrize("typed", ["trainer.max_epochs=3", "trainer=gpu", "trainer.devices=auto", "task_name=first"])
def test_a_refusal_leaves_nothing_behind(tmp_path, typed):
    finished = run_command([typed], tmp_path, tmp_path)
    assert finished.code == 2, finished.out
    assert NAMES.get(typed, NAMES.get(typed.partition("=")[0])).say in finished.err
    assert not list(tmp_path.iterdir())


def test_variables_of_wandb_that_are_taken_hold_where_the_setting_is_not_given(message, monkeypatch):
    for each in SECTIONS["Weights & Biases"]:
        for variable, value in each.variables.items():
            monkeypatch.setenv(variable, value)
    assert message() == ""
    held, variables = tracking.with_environment(tracking.TrackingSettings())
    assert variables == tracking.VARIABLES
    assert (held.project, held.tags, held.folder) == ("mine", ("pilot", "night"), Path("wandb_files"))
    assert tracking.mode_of_environment()[0] == "offline"


def test_variables_of_wandb_that_are_not_taken_are_refused_or_ignored_with_what_to_do(message, monkeypatch):
    for each in SECTIONS["Weights & Biases"]:
        if not each.is_taken:
            monkeypatch.setenv(each.name, "mine:1")
            said = "\n".join(tracking.unused_variables()) if each.is_ignored else message()
            assert each.name in said
            assert each.say in said
            assert (message() == "") == each.is_ignored
            monkeypatch.delenv(each.name)


def test_advice_does_not_depend_on_where_a_name_is_typed(message):
    for typed in ("+trainer.max_epochs=3", "model.training.max_epochs=3", "max_epochs=3"):
        assert NAMES["trainer.max_epochs"].say in message(typed)


def test_every_argument_of_lightnings_trainer_is_taken_or_refused():
    in_table = {each.name.removeprefix("trainer.") for each in LIGHTNING if "=" not in each.name}
    assert in_table == set(inspect.signature(Trainer).parameters)


def test_the_page_is_the_table(repository):
    made = "python -m modelcollapse.commands.coming_from > docs/coming_from.md"
    assert coming_from.page() == (repository / "docs" / "coming_from.md").read_text(), f"make it anew: {made}"
