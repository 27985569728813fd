"""Keys: what names an artifact, and what does not."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_artifacts import artifact, build_nothing, build_weights

from modelcollapse.store import Artifact, canonical_json
from modelcollapse.store.artifacts import with_ancestors


def reference_recipe():
    data = Artifact("data", {"corpus": "wikitext", "rows": 100}, {}, build_nothing, "data")
    model = Artifact(
        "model",
        {"settings": {"rate": 2e-5, "layers": (1, 2), "dropout": None}, "seed": [3, 0, "fit"], "version": 1},
        {"training data": data, "validation data": data},
        build_nothing,
        "generation 0 · fit",
    )
    return data, model


def test_keys_stay_what_they_were():
    # Golden values: if they change, every store in the world is forgotten.
    data, model = reference_recipe()
    assert data.key == "a738abd9bacd239352b04a47c1403f85"
    assert model.key == "111de9f527bf20496f9b0039b37d4e8f"


def test_key_is_the_hash_of_the_canonical_recipe():
    data, _ = reference_recipe()
    text = b'{"kind":"data","parents":{},"recipe":{"corpus":"wikitext","rows":100}}'
    digest = subprocess.run(["sha256sum"], input=text, capture_output=True, check=True).stdout.decode()
    assert data.key == digest[:32]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "base"},
        {"recipe": {"rate": 0.1, "version": 2}},
        {"recipe": {"rate": 0.1, "version": 1.0}},
        {"recipe": {"rate": 0.1, "version": True}},
        {"recipe": {"rate": 0.1, "version": "1"}},
        {"recipe": {"rate": 0.1 + 1e-17 + 2e-17, "version": 1}},
        {"recipe": {"rate": 0.1}},
        {"recipe": {"rate": 0.1, "version": 1, "more": None}},
        {"parents": {}},
        {"parents": {"validation data": artifact("a")}},
        {"parents": {"training data": artifact("b")}},
        {"parents": {"training data": artifact("a"), "validation data": artifact("a")}},
    ],
    ids=str,
)
def test_key_depends_on_everything_in_the_recipe(change):
    fields = {
        "kind": "model",
        "recipe": {"rate": 0.1, "version": 1},
        "parents": {"training data": artifact("a")},
    }
    usual = Artifact(**fields, build=build_nothing, label="x")
    changed = Artifact(**(fields | change), build=build_nothing, label="x")
    assert changed.key != usual.key
    assert changed != usual


def test_key_depends_on_nothing_else():
    one = Artifact("model", {"a": 1, "b": [2]}, {"x": artifact("x"), "y": artifact("y")}, build_nothing, "one")
    two = Artifact("model", {"b": (2,), "a": 1}, {"y": artifact("y"), "x": artifact("x")}, build_weights, "two", 10**9)
    assert one.key == two.key
    assert len({one, two}) == 1


def test_recipe_cannot_be_changed_behind_the_key():
    settings = {"rate": [0.1]}
    model = Artifact("model", settings, {}, build_nothing, "x")
    settings["rate"].append(0.2)
    assert model.recipe == {"rate": [0.1]}
    with pytest.raises(TypeError):
        model.recipe["rate"] = 1
    with pytest.raises(TypeError):
        model.parents["data"] = model


def test_ancestors_are_the_parents_and_theirs():
    data, model = reference_recipe()
    sampled = Artifact("synthetic", {}, {"model": model, "data": data}, build_nothing, "x")
    other = Artifact("data", {"corpus": "other"}, {}, build_nothing, "x")
    assert with_ancestors([sampled, other]) == {data, model, sampled, other}
    assert with_ancestors([]) == set()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [1, {"b": float("nan")}]}, ValueError, r"recipe\.a\[1\]\.b is nan"),
        ({"a": float("-inf")}, ValueError, r"recipe\.a is -inf"),
        ({"a": {1, 2}}, TypeError, r"recipe\.a is .* a set"),
        ({"a": b"x"}, TypeError, "a bytes"),
        ({"a": Path("x")}, TypeError, "Path"),
        ({"a": {1: "x"}}, TypeError, r"recipe\.a has the name 1, a int"),
        ({"a": signal.SIGKILL}, TypeError, "a Signals"),
    ],
)
def test_recipe_that_is_not_json_is_refused_and_the_place_named(value, error, message):
    with pytest.raises(error, match=message):
        Artifact("model", value, {}, build_nothing, "x")


@pytest.mark.parametrize("kind", ["locks", "progress", "damaged", "", "../model", "a/b", ".model", "Model"])
def test_kind_that_cannot_name_a_folder_is_refused(kind):
    with pytest.raises(ValueError, match="cannot name a folder"):
        Artifact(kind, {}, {}, build_nothing, "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


def reordered(value, shuffle):
    if isinstance(value, dict):
        items = [(name, reordered(item, shuffle)) for name, item in value.items()]
        shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return tuple(reordered(item, shuffle) for item in value)
    return value


@given(json_values, st.randoms(use_true_random=False))
def test_canonical_json_does_not_depend_on_order_and_loses_nothing(value, shuffler):
    text = canonical_json(value)
    assert canonical_json(reordered(value, shuffler.shuffle)) == text
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
