"""The collapse profile, on records whose numbers are known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, t

from modelcollapse.families import presentation_of
from modelcollapse.families.presentation import DEFINITIONS
from modelcollapse.registry import registry
from modelcollapse.report.chains import read_chains
from modelcollapse.report.collapse import Judged, collapse_profile, profile_cells
from modelcollapse.report.groups import Cube, groups_of

pytest_plugins = ("report_runs",)

SEEDS = range(6)
GENERATIONS = 8
MOVES = {"test/perplexity": 5, "synthetic/distinct_2": 2}
"""Metric -> the generation at which chains without real data leave their control."""


def metrics_of(generation, seed, effect):
    noise = np.random.default_rng([generation, seed]).normal(size=2)
    away = {name: effect * max(0, generation + 1 - first) for name, first in MOVES.items()}
    return {
        "test/perplexity": 30.0 + seed + 0.05 * noise[0] + 20 * away["test/perplexity"],
        "synthetic/distinct_2": 0.9 + 0.001 * noise[1] - 0.05 * away["synthetic/distinct_2"],
    }


@pytest.fixture
def profile(tmp_path, one_run):
    """The profile of chains under replace and under real, and their groups."""
    for number, (regime, effect) in enumerate((("replace", 1.0), ("real", 0.0))):
        for seed in SEEDS:
            more = {"generations": GENERATIONS, "metrics": metrics_of, "effect": effect}
            one_run(tmp_path / f"{number}{seed}", regime=regime, seed=seed, **more)
    groups = groups_of(read_chains([tmp_path]))
    cubes = {group.label: Cube.of(group) for group in groups}
    return collapse_profile(groups, cubes, {"language_model": presentation_of("language_model")})


def row_of(profile, group, definition):
    (row,) = profile[(profile["group"] == group) & (profile["definition"] == definition)].to_dict("records")
    return row


def test_what_holds_is_what_the_seeds_show(profile):
    verdicts = {row["definition"]: row["verdict"] for row in profile.to_dict("records") if row["group"] == "replace"}
    assert list(dict.fromkeys(profile["definition"])) == list(DEFINITIONS)
    assert verdicts == {
        **dict.fromkeys(("catastrophe", "rise", "divergence", "diversity"), "holds"),
        **dict.fromkeys(("tails", "scaling", "similarity", "modes", "hallucination"), "not assessed"),
    }
    assert {row_of(profile, "real", name)["verdict"] for name in ("catastrophe",)} == {"absent"}
    assert row_of(profile, "real", "divergence")["verdict"] in ("open", "absent")


def test_the_change_is_that_of_each_seed_with_students_interval(profile):
    row = row_of(profile, "replace", "rise")
    changes = np.array(
        [
            metrics_of(GENERATIONS, seed, 1.0)["test/perplexity"] - metrics_of(0, seed, 1.0)["test/perplexity"]
            for seed in SEEDS
        ]
    )
    half = t.ppf(0.975, len(SEEDS) - 1) * changes.std(ddof=1) / math.sqrt(len(SEEDS))
    assert row["n"] == len(SEEDS)
    assert [row["change"], row["low"], row["high"]] == pytest.approx(
        [changes.mean(), changes.mean() - half, changes.mean() + half]
    )


def test_what_moves_before_the_risk_is_said_by_how_many_generations(profile):
    assert row_of(profile, "replace", "rise")["moved_at"] == MOVES["test/perplexity"]
    warning = row_of(profile, "replace", "diversity")
    assert (warning["moved_at"], warning["ahead_of_risk"]) == (MOVES["synthetic/distinct_2"], 3)
    assert profile.loc[profile["group"] == "real", "moved_at"].isna().all()
    cells = profile_cells(profile).set_index("definition")
    assert cells.loc[DEFINITIONS["diversity"], "replace"].endswith(", since generation 2")


def test_the_slope_is_that_of_least_squares_over_the_last_half():
    generations = np.arange(9)
    values = np.random.default_rng(0).normal(size=(9, 3)).cumsum(axis=0)
    expected = [linregress(generations[4:], values[4:, seed]).slope for seed in range(3)]
    assert Judged("divergence", "risk", False).change(generations, values) == pytest.approx(expected)
    assert Judged("divergence", "risk", True).change(generations, values) == pytest.approx(np.negative(expected))
    assert np.isnan(Judged("divergence", "risk", False).change(np.arange(4), values[:4])).all()


def test_a_catastrophe_is_a_ratio_of_risks_of_one_sign():
    values = np.array([[2.0, -100.0, 0.0, -1.0], [5.0, -250.0, 3.0, 1.0]])
    ratios = Judged("catastrophe", "risk", False).change(np.arange(2), values)
    np.testing.assert_allclose(ratios, [2.5, 2.5, np.nan, np.nan])


def test_changes_end_within_their_possible_values():
    shares = Judged("tails", "kept", True)
    assert shares.possible_change((0.0, 1.0)) == (-1.0, 1.0)
    assert shares.possible_change((0.0, math.inf)) == (-math.inf, math.inf)
    assert Judged("catastrophe", "risk", False).possible_change((1.0, math.inf)) == (0.0, math.inf)


def test_few_seeds_are_shown_and_not_judged(tmp_path, grid):
    groups = groups_of(read_chains([grid(tmp_path, generations=2)]))
    cubes = {group.label: Cube.of(group) for group in groups}
    found = collapse_profile(groups, cubes, {"language_model": presentation_of("language_model")})
    assert set(found["verdict"]) == {"fewer than 5 seeds", "not assessed"}
    assert isinstance(profile_cells(found), pd.DataFrame)


def test_symptoms_of_families_are_of_known_definitions():
    for member in registry("families").members():
        for symptom in presentation_of(member.name).symptoms:
            assert symptom.definition in {"risk", *DEFINITIONS}, (member.name, symptom)
