"""Overrides given as Python values: what Hydra reads of them is what was given."""

import math
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import modelcollapse as mc
from modelcollapse.config.hydra_internals import parsed
from modelcollapse.interactive.overrides import OTHER_VALUES, encoded, overrides_of

NAMES = st.from_regex(r"[a-z_][a-z_0-9]{0,5}", fullmatch=True).filter(lambda name: name not in OTHER_VALUES)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(PLAIN, lambda part: st.lists(part, max_size=3) | st.dictionaries(NAMES, part, max_size=3))


@hypothesis.given(VALUES)
def test_hydra_reads_back_the_value_that_was_given(value):
    (override,) = parsed([f"setting={encoded(value)}"])
    assert override.value() == value


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (Path("a b/c,d"), "a b/c,d"),
        ((1, "two"), [1, "two"]),
        (range(2), [0, 1]),
    ],
)
def test_numbers_of_numpy_paths_and_ranges_are_values_too(given, read):
    (override,) = parsed([f"setting={encoded(given)}"])
    assert override.value() == read


def test_nan_is_nan():
    (override,) = parsed([f"setting={encoded(math.nan)}"])
    assert math.isnan(override.value())


def test_mappings_hold_the_settings_below_a_group_and_options_stay_plain_words():
    named = {"regime": "accumulate", "model": {"training": {"epochs": 2, "optimizer": None}}, "seed": 3}
    assert overrides_of(["experiment=quickstart"], named) == [
        "experiment=quickstart",
        "regime=accumulate",
        "model.training.epochs=2",
        "model.training.optimizer=null",
        "seed=3",
    ]


def test_a_list_is_several_values_in_a_sweep_and_a_list_of_lists_several_lists():
    given = {"seed": range(3), "regime": ["replace", "accumulate"], "callbacks": [["lr_monitor"], []]}
    assert overrides_of([], given, several=True) == [
        "seed=0,1,2",
        "regime=replace,accumulate",
        "callbacks=[lr_monitor],[]",
    ]
    assert overrides_of([], {"callbacks": ["lr_monitor"]}) == ["callbacks=[lr_monitor]"]


def test_all_that_is_no_value_is_said_at_once():
    with pytest.raises(mc.SettingsError) as raised:
        overrides_of([3], {"seed": object(), "model": {"width": {1}.add}, "regime": {2: "x"}}, several=True)
    assert [problem.partition(":")[0] for problem in raised.value.problems] == [
        "3 is no override; it must be text such as 'seed=3'",
        "seed",
        "model.width",
    ]
    with pytest.raises(mc.SettingsError, match="seed: no value is given"):
        overrides_of([], {"seed": []}, several=True)
