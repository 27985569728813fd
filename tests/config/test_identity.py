"""Which settings decide results: one annotation a field, for recipes and chain ids alike."""

from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated

from hydra import compose, initialize_config_dir

from conftest import read
from modelcollapse.chain import chain_id
from modelcollapse.config.composing import HYDRA_VERSION_BASE, settings_of
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.settings import EXECUTION, IntroducedAs, Range, identity_of


@dataclass(frozen=True)
class Inner:
    width: int
    threads: Annotated[int, Range(low=1), EXECUTION] = 1


@dataclass(frozen=True)
class Outer:
    inner: Inner
    sizes: tuple[int, ...]
    where: Path
    optimizer: Annotated[str, IntroducedAs("adamw")] = "lion"


def test_the_identity_holds_what_decides_results_and_nothing_else():
    outer = Outer(Inner(3, threads=8), (1, 2), Path("a"), "sgd")
    assert identity_of(outer) == {"inner": {"width": 3}, "sizes": [1, 2], "where": "a", "optimizer": "sgd"}


def test_a_later_field_changes_no_identity_where_it_has_the_value_it_was_introduced_with():
    before = {"inner": {"width": 3}, "sizes": [], "where": "a"}
    assert identity_of(Outer(Inner(3), (), Path("a"), "adamw")) == before
    # The default of the day is another one, and is therefore written down.
    assert identity_of(Outer(Inner(3), (), Path("a"))) == {**before, "optimizer": "lion"}


def test_marks_do_not_get_in_the_way_of_reading():
    assert read(Inner, {"width": 1, "threads": 2}) == Inner(1, 2)


def settings(*overrides):
    with initialize_config_dir(str(configuration_folder()), version_base=HYDRA_VERSION_BASE):
        return settings_of(compose("train", overrides=list(overrides)))[0]


def test_precision_is_another_chain_and_execution_is_not():
    usual = settings()
    assert chain_id(settings("trainer.precision=bf16-mixed")) != chain_id(usual)
    for same in ("trainer.threads=1", "generations=2", "decoding.batch_size=7", "tracking=none", "model.name=mine"):
        assert chain_id(settings(same)) == chain_id(usual), same


def test_every_field_that_is_identity_changes_the_chain_id():
    usual = settings("experiment=paper_gaussian")
    changed = {"estimator": "biased", "synthesis": "samples", "replicates": 7}
    for name, value in changed.items():
        assert chain_id(replace(usual, model=replace(usual.model, **{name: value}))) != chain_id(usual), name


def test_settings_are_frozen_dataclasses_throughout():
    def walk(value):
        if is_dataclass(value):
            assert value.__dataclass_params__.frozen, type(value)
            for field in fields(value):
                walk(getattr(value, field.name))

    walk(settings())
