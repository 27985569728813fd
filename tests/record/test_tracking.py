"""Loggers and W&B's names as settings: what is taken, what is refused before anything is written."""

import sys

import pytest

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.record import tracking
from modelcollapse.record.tracking import TrackingSettings, fitting, fitting_tags, with_environment
from modelcollapse.settings import SettingsError

LONG = "x" * 129


@pytest.fixture
def problems(compose_values):
    def found(*overrides):
        try:
            read_chain_settings(compose_values(*overrides))
        except SettingsError as error:
            return list(error.problems)
        return []

    return found


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("tracking.project=a/b", "none of / \\ # ? % :"),
        (f"tracking.project={LONG}", "at most 128 characters"),
        (f"tracking.name={LONG}", "at most 128 characters"),
        (f"tracking.group={LONG}", "at most 128 characters"),
        (f"tracking.job_type={'x' * 65}", "at most 64 characters"),
        (f"tracking.tags=[short,{'x' * 65}]", "at most 64 characters"),
        ("tracking.tags=['']", "text"),
    ],
)
def test_what_wandb_does_not_take_is_refused_with_the_settings(problems, override, allowed):
    (problem,) = problems(override)
    assert problem.startswith(override.partition("=")[0])
    assert allowed in problem


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WANDB_PROJECT", "a/b", "WANDB_PROJECT, for tracking.project: 'a/b' is not allowed"),
        ("WANDB_TAGS", f"short,{'x' * 65}", "WANDB_TAGS, for tracking.tags[1]: 'xxx"),
        ("WANDB_MODE", "ofline", "WANDB_MODE=ofline; it may be one of online"),
        ("WANDB_FORK_FROM", "run?_step=3", "begins in no other run"),
    ],
)
def test_variables_are_checked_with_the_settings_where_wandb_is_used(problems, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    (problem,) = problems()
    assert said in problem
    assert problems("tracking=none") == problems("tracking.mode=disabled") == []


def test_a_setting_wins_over_its_variable_and_a_variable_over_the_default(problems, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    monkeypatch.setenv("WANDB_TAGS", "one, two,,")
    monkeypatch.setenv("WANDB_NOTES", "")
    given = TrackingSettings(project="mine")
    assert problems("tracking.project=mine") == []
    held, variables = with_environment(given)
    assert (held.project, held.tags, held.notes) == ("mine", ("one", "two"), None)
    assert variables == {"tags": "WANDB_TAGS"}
    assert with_environment(TrackingSettings(project="mine", tags=("own",)))[0].tags == ("own",)


def test_an_agent_names_its_run_itself(monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert ["WANDB_RUN_ID" in line for line in tracking.unused_variables()] == [True]
    monkeypatch.setenv("WANDB_SWEEP_ID", "of-an-agent")
    assert list(tracking.unused_variables()) == []


def test_tags_made_of_names_fit_and_stay_apart():
    long = [f"{'a' * 64}{end}" for end in "xy"]
    tags = fitting_tags(["replace", *long, "replace", ""])
    assert tags[0] == "replace"
    assert [len(tag) for tag in tags[1:]] == [64, 64]
    assert len(set(tags)) == 3
    assert fitting("a" * 64, 64) == "a" * 64


@pytest.mark.parametrize("typed", ["logger=csv", "logger=[csv,tensorboard,wandb]", "logger=[{name: csv}]"])
def test_loggers_are_named_alone_or_in_a_list(problems, typed):
    assert problems(typed) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("logger=[csv,csv]",), "logger: csv is named 2 times"),
        (("logger=wandb", "tracking=none"), "logger: wandb contradicts tracking=none; leave one of them out"),
        (("logger=[{name: wandb, project: mine}]",), "logger[0].project: no such setting; its settings are tracking.*"),
        (("logger=tensorbord",), "'tensorbord' is no logger (did you mean tensorboard?)"),
        (("logger=[csv,mlflow]",), "docs/extending.md#a-logger"),
    ],
)
def test_loggers_that_cannot_be_are_refused_with_the_settings(problems, typed, said):
    (problem,) = problems(*typed)
    assert said in problem


def test_a_mapping_in_the_place_of_the_list_says_what_to_type(train):
    finished = train("logger={name: csv}")
    assert finished.code == 2
    assert "logger={name: csv}: logger is a list; set 'logger=[{name: csv}]'" in finished.err


def test_settings_of_a_member_of_the_list_say_what_to_type_whatever_else_is_typed(train):
    for typed, say in (("logger.wandb.tags=[a]", "set tracking.tags=[one,two]"), ("logger.csv.x=3", "set 'logger=[")):
        finished = train("seed=1", typed, "generations=2")
        assert finished.code == 2
        assert f"{typed.partition('=')[0]}: no such setting; logger is a list; {say}" in finished.err


def test_a_logger_whose_package_is_missing_says_how_to_install_it(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    finished = train("logger=tensorboard", "tracking=none")
    assert finished.code == 2
    assert "logger: tensorboard needs the package tensorboard: pip install 'modelcollapse[tensorboard]'" in finished.err
    assert not finished.folder.exists()
