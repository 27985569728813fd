"""Metrics of two runs side by side, without their artifacts: which differ, where first, and by how much at most."""

import math

import pytest

from modelcollapse.record import ChainIdentity, Record
from modelcollapse.record.comparison import compare_runs


@pytest.fixture
def run(tmp_path):
    """A run folder with these metrics in its generations."""

    def write(name, *generations, **settings):
        identity = ChainIdentity(name, "test", "gaussian", "Gaussian", "replace", 0)
        config = {"paths": {"store": str(tmp_path / "store")}, **settings}
        with Record(tmp_path / name, identity, config) as record:
            for number, metrics in enumerate(generations):
                record.timing(number, "fit", 1.0, computed=True, key="1" * 32)
                record.generation(number, metrics, artifacts={"model": "1" * 32})
        return tmp_path / name

    return write


def found(comparison):
    return [(each.name, each.generation, each.largest_generation, each.largest) for each in comparison.metrics]


def test_differences_are_relative_to_the_larger_magnitude_and_largest_ones_are_in_front(run):
    first = run("a", {"x": 1.0, "y": -2.0, "z": 3.0, "same": 4.0}, {"x": 8.0, "y": -2.0, "z": 5.0, "same": 5.0})
    other = run("b", {"x": 1.25, "y": -4.0, "z": 3.0, "same": 4.0}, {"x": 2.0, "y": -2.5, "z": 4.0, "same": 5.0})
    expected = [("y", 0, 0, 0.5), ("x", 0, 1, 0.75), ("z", 1, 1, 0.2)]
    for one, two in ((first, other), (other, first)):
        # In the generation of their first difference, the largest first; then those of later generations.
        assert sorted(found(compare_runs(one, two))) == sorted(expected)
        assert [name for name, *_ in found(compare_runs(one, two))] == ["x", "y", "z"]
    assert next((each.first, each.second) for each in compare_runs(first, other).metrics) == (1.0, 1.25)


def test_what_is_no_number_in_both_is_equal_and_in_one_infinitely_far(run):
    first = run("a", {"x": math.nan, "y": 1.0, "z": 0.0, "w": math.inf})
    other = run("b", {"x": math.nan, "y": math.nan, "z": 0.0, "w": math.inf})
    assert found(compare_runs(first, other)) == [("y", 0, 0, math.inf)]
    assert not compare_runs(first, other).has_equal_results
    assert compare_runs(first, first).is_empty


def test_nothing_differs_only_where_settings_and_numbers_of_generations_do_not_either(run):
    first = run("a", {"x": 1.0}, {"x": 2.0}, seed=0, token_secret="one")
    shorter = run("b", {"x": 1.0}, seed=0, token_secret="two")
    other = run("c", {"x": 1.0}, {"x": 2.0}, seed=1, token_secret="two")
    for two in (shorter, other):
        comparison = compare_runs(first, two)
        assert (comparison.has_equal_results, comparison.is_empty) == (True, False)
    # What is named like a secret is not compared, and not shown.
    assert [each.name for each in compare_runs(first, other).settings] == ["seed"]
    assert [(each.first, each.second) for each in compare_runs(first, other).settings] == [(0, 1)]
