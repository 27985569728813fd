"""The paper's general form: rows of the newest model, of the training set before, used again as they are, and of H."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from modelcollapse.chain import chain_generations
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.families import family_for
from modelcollapse.families.estimators.theory import Plan
from modelcollapse.families.gaussian import theory
from modelcollapse.regimes import (
    REAL,
    Draw,
    DrawError,
    GeneralSettings,
    Source,
    compose,
    composition_recipe,
    held_rows,
    resolve,
    with_history,
)
from modelcollapse.regimes.rows import random_keys
from modelcollapse.registry import Member, register
from modelcollapse.settings import SettingsError
from modelcollapse.training.trainer import Execution

CONF = Path(__file__).parents[2] / "conf" / "regime" / "general.yaml"
GENERAL = GeneralSettings(**OmegaConf.to_container(OmegaConf.load(CONF)))
GAUSSIAN = ("model=gaussian", "data=gaussian_samples", "decoding=none", "model.synthesis=samples")
N = 40


def general(alpha, beta, gamma):
    return GeneralSettings("general", alpha, beta, gamma)


def composed(regime, generations, seed=0):
    """The compositions of generations 0 .. N as a chain has them."""
    found = [compose(regime, 0, seed)]
    for generation in range(1, generations + 1):
        found.append(with_history(compose(regime, generation, seed), found[-1]))
    return found


def rows_of(draws, n=N):
    """Sorted (source, row) pairs of a training set."""
    sizes = {source: n for draw in draws for source in draw.sets}
    parts = resolve(draws, sizes, n)
    return sorted((part.source.order, row) for part in parts for row in part.indices.tolist())


def smallest(stream, among, count):
    keys = random_keys(len(among), stream)
    return [among[place] for place in sorted(np.argsort(keys, kind="stable")[:count])]


def by_brute_force(regime, generations, n=N):
    """Training sets as lists of (source, row), each made of the list before, as the paper writes them."""
    real = [(REAL.order, row) for row in range(n)]
    sets = [real]
    for t in range(1, generations + 1):
        streams = {draw.stream.stage: draw.stream for draw in compose(regime, t, 0)}
        written = [(Source("synthetic", t - 1).order, row) for row in range(n)]
        alpha, beta, gamma = (round(share * n) for share in (regime.alpha, regime.beta, regime.gamma))
        sets.append(
            smallest(streams["draw.real"], real, gamma)
            + smallest(streams["draw.training"], sets[-1], beta)
            + smallest(streams["draw.latest"], written, alpha)
        )
    return sets


def test_training_sets_are_those_of_the_recursion_carried_out_row_by_row():
    for draws, expected in zip(composed(GENERAL, 7)[1:], by_brute_force(GENERAL, 7)[1:], strict=True):
        assert rows_of(draws) == sorted(expected)


def test_rows_that_were_kept_of_a_training_set_are_the_ones_that_are_used_again():
    """Of each training set the real rows are kept, twice each; so those of D_t are of H, S_{t-1}, and what was kept."""
    kept, before = {}, set()
    for generation, draws in enumerate(composed(general(0.5, 0.4, 0.1), 4)[1:], 1):
        parts = resolve(draws, {source: N for draw in draws for source in draw.sets}, N, kept=kept)
        rows = [(part.source, row) for part in parts for row in part.indices.tolist()]
        real = [row for row in rows if row[0] == REAL]
        assert len(rows) == N
        assert {source for source, _ in rows} == {REAL, Source("synthetic", generation - 1)}
        assert len(real) == N / 2
        assert generation == 1 or sum(row in before for row in real) >= 0.4 * N
        assert generation == 1 or len(set(real)) < len(real)
        places = [place for place, row in enumerate(rows) if row[0] == REAL]
        kept[Source("training", generation)], before = np.repeat(places, 2), set(real)


def test_a_set_fades_geometrically():
    """Of S_0, beta^4 of its first share is left four generations later; S_{t-1} alone would leave nothing."""
    n, draws = 4000, composed(general(0.5, 0.5, 0.0), 5)[5]
    parts = resolve(draws, {source: n for draw in draws for source in draw.sets}, n)
    rows = {part.source: sum(len(each.indices) for each in parts if each.source == part.source) for part in parts}
    assert rows[Source("synthetic", 4)] == n / 2
    assert rows[Source("synthetic", 3)] == pytest.approx(n / 4, rel=0.1)
    assert rows[Source("synthetic", 0)] == pytest.approx(n / 32, rel=0.4)
    assert sum(rows.values()) == n


def test_every_set_that_rows_can_be_of_is_a_set_of_the_draw():
    (draw,) = [draw for draw in composed(GENERAL, 4)[4] if draw.reused]
    assert set(draw.sets) == {REAL, *(Source("synthetic", writer) for writer in range(3))}


def test_a_composition_without_the_history_of_its_training_set_is_no_training_set():
    with pytest.raises(DrawError, match="with_history"):
        rows_of(compose(GENERAL, 2, 0))


def test_a_chain_of_thousands_of_generations_needs_no_recursion():
    draws = composed(GENERAL, 3000)[-1]
    assert len(rows_of(draws, 20)) == 20
    assert composition_recipe(draws, lambda source: source.role)


def test_the_recipe_holds_all_that_the_training_set_before_was_composed_of():
    def recipe(draws):
        return composition_recipe(draws, lambda source: source.role)

    one, other = (composed(GENERAL, 4, seed) for seed in (0, 1))
    assert recipe(one[4]) == recipe(composed(GENERAL, 4)[4])
    # Only the oldest reused set is another; generation 4's own draws are the same.
    mixed = other[:2]
    for draws in one[2:]:
        mixed.append(with_history(tuple(dataclasses.replace(draw, history=()) for draw in draws), mixed[-1]))
    assert recipe(mixed[4]) != recipe(one[4])
    (draw,) = [draw for draw in mixed[4] if draw.reused]
    assert len(draw.history) == 3


@pytest.mark.parametrize(
    ("shares", "problem"), [((0.6, 0.3, 0.0), "must be 1 together"), ((0.1, 0.2, 0.7), None), ((0.9, 0, 0.1), None)]
)
def test_shares_are_one_together(shares, problem):
    found = general(*shares).problems()
    assert problem in found[0] if problem else found == []


@pytest.fixture
def keys(compose_values):
    def declared(*overrides, rule=None):
        values = compose_values(*GAUSSIAN, "generations=4", "model.segment_length=1", *overrides)
        settings = read_chain_settings(values if rule is None else {**values, "regime": {"rule": rule}})
        family = family_for(settings, Execution(settings.trainer, None, lambda generation, line: None))
        return [generation.artifacts["model"].key for generation in chain_generations(settings, family)]

    return declared


GENERAL_FORM = "regime=general"


@pytest.mark.parametrize(
    ("same", "alpha", "beta", "gamma"),
    [("replace", 1, 0, 0), ("preserve", 0.9, 0, 0.1), ("real", 0, 0, 1), ("real", 0, 1, 0)],
)
def test_special_cases_share_the_work_of_the_regimes_that_they_are(keys, same, alpha, beta, gamma):
    shares = (f"regime.alpha={alpha}", f"regime.beta={beta}", f"regime.gamma={gamma}")
    assert keys(GENERAL_FORM, *shares) == keys(f"regime={same}")


def test_the_memory_is_in_the_key(keys):
    assert keys(GENERAL_FORM)[1:] != keys("regime=older")[1:]
    shares = ("regime.alpha=0.6", "regime.beta=0.2", "regime.gamma=0.2")
    assert not set(keys(GENERAL_FORM)[1:]) & set(keys(GENERAL_FORM, *shares)[1:])


class Remembering:
    """Half of the training set before, half of the newest set: the general form by a rule."""

    def compose(self, generation):
        return [Draw.training_set(0.5), Draw.latest(0.5)]


class Growing:
    """All of the training set before, and the newest set."""

    def compose(self, generation):
        return [Draw.training_set(generation), Draw.latest()]


class TooMuch:
    def compose(self, generation):
        return [Draw.training_set(1.5)]


register(
    Member("regimes", "test_remembering", Remembering),
    Member("regimes", "test_growing", Growing),
    Member("regimes", "test_too_much", TooMuch),
)


def by_rule(compose_values, name):
    return read_chain_settings({**compose_values(*GAUSSIAN, "generations=3"), "regime": {"rule": name}}).regime


def test_a_rule_draws_from_the_training_set_before(compose_values):
    regime = by_rule(compose_values, "test_remembering")
    draws = composed(regime, 3)[3]
    rows = rows_of(draws)
    before = rows_of(composed(regime, 2)[2])
    newest = Source("synthetic", 2).order
    assert sum(order == newest for order, _ in rows) == N / 2
    assert {row for row in rows if row[0] != newest} <= set(before)


def test_a_rule_that_keeps_the_whole_training_set_accumulates(compose_values):
    regime = by_rule(compose_values, "test_growing")
    every = [REAL, *(Source("synthetic", writer) for writer in range(3))]
    assert rows_of(composed(regime, 3)[3]) == [(source.order, row) for source in every for row in range(N)]
    assert held_rows(Source("training", 3), regime, N) == 4 * N


def test_a_rule_that_asks_for_more_than_the_training_set_holds_is_refused(compose_values):
    with pytest.raises((SettingsError, DrawError), match=r"1\.5"):
        by_rule(compose_values, "test_too_much")


SIGMAS = 4


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("shares", [(0.6, 0.3, 0.1), (0.5, 0.5, 0.0), (0.9, 0.0, 0.1)])
def test_a_gaussian_chain_has_the_moments_of_the_exact_recursion(chain, shares, estimator):
    alpha, beta, gamma = shares
    rows, generations, replicates = 10, 12, 4000
    words = (f"regime.alpha={alpha}", f"regime.beta={beta}", f"regime.gamma={gamma}", f"model.estimator={estimator}")
    sizes = (f"data.rows={rows}", f"generations={generations}", f"model.replicates={replicates}")
    found = chain(*GAUSSIAN, GENERAL_FORM, *words, *sizes, "model.segment_length=100")
    counts = Plan(general(*shares), generations, rows).general_counts()
    assert counts == (alpha * rows, beta * rows, gamma * rows)
    error, variance = theory.general_moments(counts, generations + 1, estimator)
    for generation in (1, 2, 5, generations):
        metrics = found.works[generation].result.metrics
        for name, expected in (("squared_mean_error", error), ("variance", variance)):
            deviation = metrics[f"{name}/standard_deviation"] / replicates**0.5
            assert abs(metrics[f"{name}/mean"] - expected[generation]) < SIGMAS * deviation, (name, generation)
