"""Chains into groups and tables."""

import json

import numpy as np
import pandas as pd
import pytest

from modelcollapse.errors import UserError
from modelcollapse.families import presentation_of
from modelcollapse.families.presentation import Presentation
from modelcollapse.report.chains import read_chains
from modelcollapse.report.differences import (
    headline_table,
    interval_text,
    paired_differences,
    pairs_of,
    ranges,
    unfinished,
)
from modelcollapse.report.groups import Cube, differing_settings, groups_of, listed_seeds
from modelcollapse.report.states import states_of
from modelcollapse.report.tables import (
    REPLICATES,
    SEEDS,
    seed_points,
    shown_statistics,
    statistics_table,
    summary_table,
)

NONE_PRESENTED = {"language_model": Presentation()}

pytest_plugins = ("report_runs",)


def grouped(*folders):
    groups = groups_of(read_chains(folders))
    return groups, {group.label: Cube.of(group) for group in groups}


def statistics_of(folder):
    groups, cubes = grouped(folder)
    return statistics_table(groups, cubes, {group.family: presentation_of(group.family) for group in groups})


# ---- groups ---------------------------------------------------------------------------------------------------


def test_chains_that_differ_only_by_their_seed_are_a_group(tmp_path, grid):
    groups, _ = grouped(grid(tmp_path, penalties=(1.0, 2.0)))
    assert [group.label for group in groups] == [
        "replace, repetition_penalty=1",
        "replace, repetition_penalty=2",
        "preserve, repetition_penalty=1",
        "preserve, repetition_penalty=2",
    ]
    assert [group.seeds for group in groups] == [[0, 1, 2]] * 4
    assert groups[1].columns["decoding.repetition_penalty"] == 2


def test_settings_that_the_regime_decides_are_columns_but_no_names(tmp_path, one_run, grid_config):
    for number, (regime, real) in enumerate([("replace", 0.0), ("preserve", 0.1)]):
        config = {**grid_config(penalty=1 + number, name=regime, real=real), "trainer": {"threads": number}}
        one_run(tmp_path / str(number), regime=regime, config=config)
    groups, _ = grouped(tmp_path)
    assert [group.label for group in groups] == ["replace", "preserve"]
    assert differing_settings(read_chains([tmp_path])) == ["decoding.repetition_penalty"]


def test_a_parameter_of_one_regime_distinguishes_its_groups(tmp_path, one_run, grid_config):
    for number, real in enumerate((0.1, 0.2)):
        one_run(tmp_path / str(number), regime="preserve", config=grid_config(name="preserve", real=real))
    groups, _ = grouped(tmp_path)
    assert [group.label for group in groups] == ["real=0.1", "real=0.2"]


def test_a_number_typed_in_another_way_makes_no_group_of_its_own(tmp_path, one_run):
    one_run(tmp_path / "0", penalty=2.0)
    one_run(tmp_path / "1", penalty=2, seed=1)
    groups, _ = grouped(tmp_path)
    assert [group.seeds for group in groups] == [[0, 1]]


def test_of_two_runs_of_a_chain_the_one_that_came_further_counts(tmp_path, one_run):
    one_run(tmp_path / "0", recorded=4)
    one_run(tmp_path / "1", recorded=2)
    (chain,) = read_chains([tmp_path])
    assert chain.run == "0"


def test_runs_come_in_the_order_of_their_numbers(tmp_path, one_run):
    for number in (10, 9, 0):
        one_run(tmp_path / str(number), seed=number)
    assert [chain.run for chain in read_chains([tmp_path])] == ["0", "9", "10"]


def test_two_sweeps_are_named_by_what_distinguishes_their_folders(tmp_path, one_run):
    one_run(tmp_path / "monday" / "12-00" / "0")
    one_run(tmp_path / "tuesday" / "12-00" / "0")
    groups, _ = grouped(tmp_path / "monday" / "12-00", tmp_path / "tuesday" / "12-00")
    assert [group.label for group in groups] == ["monday/12-00", "tuesday/12-00"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no run lies there"),
    ],
)
def test_nothing_to_report_is_an_error(tmp_path, make, message):
    make(tmp_path / "sweep")
    with pytest.raises(UserError, match=message):
        read_chains([tmp_path / "sweep"])


def test_chains_without_a_generation_are_nothing_to_report(tmp_path, one_run):
    one_run(tmp_path / "0", recorded=0)
    with pytest.raises(UserError, match="none of 1 chains has finished a generation"):
        read_chains([tmp_path])


def test_a_damaged_record_is_named(tmp_path, one_run):
    one_run(tmp_path / "0")
    path = tmp_path / "0" / "generations.jsonl"
    path.write_text("{not json}\n" + path.read_text())
    with pytest.raises(UserError, match="line 1, is damaged"):
        read_chains([tmp_path])


def test_the_same_sweep_twice_is_refused(tmp_path, one_run):
    one_run(tmp_path / "0")
    with pytest.raises(UserError, match="the same sweep twice"):
        read_chains([tmp_path, tmp_path])


# ---- summary --------------------------------------------------------------------------------------------------


def test_the_summary_has_a_row_for_every_chain_generation_and_metric(tmp_path, grid):
    groups, _ = grouped(grid(tmp_path))
    table = summary_table(groups)
    assert len(table) == 6 * 4 * 3
    assert not table.duplicated(["chain", "generation", "metric"]).any()
    row = table[(table["run"] == "3") & (table["generation"] == 2) & (table["metric"] == "test/perplexity")]
    assert row[["regime", "seed", "value", "family"]].to_numpy().tolist() == [["preserve", 1, 41.0, "language_model"]]


def test_nan_is_kept_in_the_summary_and_what_was_not_recorded_is_not(tmp_path, one_run):
    def metrics(generation, seed, effect):
        return {"a": float("nan"), "b": float("inf")} if generation else {"a": 1.0}

    one_run(tmp_path / "0", metrics=metrics, generations=1)
    table = summary_table(grouped(tmp_path)[0])
    assert table[["generation", "metric"]].to_numpy().tolist() == [[0, "a"], [1, "a"], [1, "b"]]
    np.testing.assert_array_equal(table["value"], [1.0, np.nan, np.inf])


# ---- statistics -----------------------------------------------------------------------------------------------


def test_statistics_over_seeds(tmp_path, grid):
    table = statistics_of(grid(tmp_path, seeds=range(5)))
    row = table[
        (table["group"] == "replace") & (table["generation"] == 3) & (table["metric"] == "test/perplexity")
    ].iloc[0]
    # 36, 46, 56, 66, 76
    assert (row["mean"], row["n"], row["over"]) == (56, 5, SEEDS)
    assert row["standard_deviation"] == pytest.approx(250**0.5)
    assert (row["low"], row["high"]) == pytest.approx((56 - 19.6324, 56 + 19.6324), abs=1e-3)


def test_an_interval_ends_where_the_record_says_that_values_end(tmp_path, one_run):
    for seed in range(5):
        one_run(tmp_path / str(seed), seed=seed, metrics=lambda generation, seed, effect: {"test/odd": 30.0**seed})
        described = {"odd": {"possible": {"odd": [0.5, None]}}}
        (tmp_path / str(seed) / "metrics.json").write_text(json.dumps(described))
    row = statistics_of(tmp_path).iloc[0]
    assert 0.5 < row["low"] < row["mean"] < row["high"]


def test_seeds_too_few_for_an_interval_are_points(tmp_path, grid):
    groups, cubes = grouped(grid(tmp_path, seeds=(0, 1)))
    points = seed_points(groups, cubes)
    assert len(points) == 4 * 4 * 3
    last = points[
        (points["group"] == "replace") & (points["generation"] == 3) & (points["metric"] == "test/perplexity")
    ]
    assert dict(zip(last["seed"], last["value"], strict=True)) == {0: 36.0, 1: 46.0}
    groups, cubes = grouped(grid(tmp_path / "five", seeds=range(5)))
    assert seed_points(groups, cubes).empty


def test_what_is_left_out_is_counted(tmp_path, one_run):
    values = [1.0, 3.0, float("nan"), float("inf"), float("-inf")]
    for seed in range(len(values)):
        one_run(
            tmp_path / str(seed), seed=seed, generations=0, metrics=lambda generation, seed, effect: {"m": values[seed]}
        )
    (row,) = statistics_of(tmp_path).to_dict("records")
    assert {name: row[name] for name in ("n", "chains", "nan", "infinite", "mean")} == {
        "n": 2,
        "chains": 5,
        "nan": 1,
        "infinite": 2,
        "mean": 2.0,
    }


def test_replicates_of_all_seeds_are_described_together(tmp_path, one_run):
    def metrics(generation, seed, effect):
        return {"error/mean": 1.0 + seed, "error/standard_deviation": 2.0, "error/median": 1.0}

    config = {"model": {"family": "gaussian", "replicates": 10}, "generations": 0}
    for seed in range(2):
        one_run(tmp_path / str(seed), seed=seed, family="gaussian", generations=0, metrics=metrics, config=config)
    table = statistics_of(tmp_path)
    pooled = table[table["over"] == REPLICATES].to_dict("records")
    assert [(row["metric"], row["n"], row["mean"]) for row in pooled] == [("error/mean", 20, 1.5)]
    # (9 x 4 + 9 x 4 + 20 x 0.25) / 19
    assert pooled[0]["standard_deviation"] == pytest.approx((77 / 19) ** 0.5)
    shown = shown_statistics(table).set_index("metric")["over"].astype(str).to_dict()
    assert shown == {"error/mean": REPLICATES, "error/median": SEEDS, "error/standard_deviation": SEEDS}


# ---- paired differences ---------------------------------------------------------------------------------------


def test_differences_are_taken_seed_by_seed(tmp_path, grid, one_run):
    grid(tmp_path, seeds=(0, 1, 2))
    one_run(tmp_path / "9", regime="preserve", seed=7)
    groups, cubes = grouped(tmp_path)
    table = paired_differences(pairs_of(groups), cubes, NONE_PRESENTED)
    perplexity = table[table["metric"] == "test/perplexity"]
    assert perplexity["mean_difference"].tolist() == [0.0, -1.5, -3.0, -4.5]
    assert perplexity["standard_deviation"].tolist() == pytest.approx([0, 0, 0, 0])
    assert set(perplexity["n"]) == {3}
    first = perplexity.iloc[0]
    assert (first["setting"], first["first"], first["second"]) == ("regime", "replace", "preserve")


def test_only_groups_that_differ_in_one_setting_are_compared(tmp_path, grid):
    groups, cubes = grouped(grid(tmp_path, penalties=(1.0, 2.0)))
    pairs = pairs_of(groups)
    assert [(pair.setting, pair.label) for pair in pairs] == [
        ("regime", "preserve − replace (repetition_penalty=1)"),
        ("regime", "preserve − replace (repetition_penalty=2)"),
        ("decoding.repetition_penalty", "repetition_penalty 2 − 1 (replace)"),
        ("decoding.repetition_penalty", "repetition_penalty 2 − 1 (preserve)"),
    ]
    assert len(paired_differences(pairs, cubes, NONE_PRESENTED)) == 4 * 4 * 3


def test_groups_without_a_common_seed_have_no_differences(tmp_path, one_run):
    one_run(tmp_path / "0", seed=0)
    one_run(tmp_path / "1", seed=1, regime="preserve")
    groups, cubes = grouped(tmp_path)
    assert pairs_of(groups) == []
    assert isinstance(paired_differences([], cubes, NONE_PRESENTED), pd.DataFrame)


def test_chains_of_different_length_are_compared_as_far_as_both_go(tmp_path, one_run):
    one_run(tmp_path / "0", recorded=4)
    one_run(tmp_path / "1", regime="preserve", recorded=2)
    groups, cubes = grouped(tmp_path)
    assert set(paired_differences(pairs_of(groups), cubes, NONE_PRESENTED)["generation"]) == {0, 1}


# ---- headline -------------------------------------------------------------------------------------------------


def test_the_headline_is_the_last_generation_that_all_chains_of_the_group_have(tmp_path, one_run):
    for seed, recorded in enumerate((4, 3, 0)):
        one_run(tmp_path / str(seed), seed=seed, recorded=recorded)
    groups, cubes = grouped(tmp_path)
    statistics = statistics_table(groups, cubes, {"language_model": Presentation()})
    (row,) = headline_table(groups, statistics, seed_points(groups, cubes), {"test/perplexity": "perplexity"}).to_dict(
        "records"
    )
    assert row == {"group": "replace", "generation": 2, "seeds": 2, "perplexity": "37.0 (32.0, 42.0)"}


@pytest.mark.parametrize(
    ("mean", "low", "high", "text"),
    [
        (980.93, 940.92, 1020.9, "981 [941, 1021]"),
        (494.53, 488.9, 500.12, "494.5 [488.9, 500.1]"),
        (0.0058971, 0.00527, 0.0065247, "0.00590 [0.00527, 0.00652]"),
        (0.00088, -6.672e-5, 0.00183, "0.00088 [-0.00007, 0.00183]"),
        (3.25e9, 3.21e9, 3.29e9, "3.25e+09 [3.21e+09, 3.29e+09]"),
        (590.0, 590.0, 590.0, "590 [590, 590]"),
        (1.23456, float("nan"), float("nan"), "1.235"),
        (float("nan"), 1.0, 2.0, "–"),
    ],
)
def test_a_mean_is_reported_as_precisely_as_it_is_known(mean, low, high, text):
    assert interval_text(mean, low, high) == text


def test_a_cell_of_fewer_values_than_its_neighbours_says_so(tmp_path, one_run):
    def metrics(generation, seed, effect):
        return {"a": 1.0 + seed, "b": 1.0 + seed if seed else float("nan")}

    for seed in range(3):
        one_run(tmp_path / str(seed), seed=seed, metrics=metrics)
    groups, cubes = grouped(tmp_path)
    statistics = statistics_table(groups, cubes, {"language_model": Presentation()})
    (row,) = headline_table(groups, statistics, seed_points(groups, cubes), {"a": "a", "b": "b", "c": "c"}).to_dict(
        "records"
    )
    assert (row["a"], row["b"], row["c"]) == ("2.0 (1.0, 2.0, 3.0)", "2.50 (2.00, 3.00), n = 2", "–")


def test_what_is_missing_is_reported_chain_by_chain(tmp_path, grid, one_run):
    grid(tmp_path, seeds=(0, 1))
    one_run(tmp_path / "1", regime="preserve", seed=0, recorded=2)
    one_run(tmp_path / "9", regime="replace", seed=5)
    groups, _ = grouped(tmp_path)
    assert unfinished(groups, states_of([tmp_path], groups)) == [
        "preserve, seed 0 (1): interrupted in generation 2 of 3",
        "preserve: no chain of seed 5, which other groups have",
    ]


def test_numbers_are_reported_as_ranges():
    assert ranges([5, 1, 2, 3, 9, 10]) == "1-3, 5, 9-10"
    assert listed_seeds([2, 0, 1]) == "0-2"
    assert listed_seeds([3, 0]) == "0, 3"
