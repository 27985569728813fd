"""Populations of Gaussians against their closed forms, and how their members are replicates of one batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.families.estimators import settings as estimators
from modelcollapse.families.estimators.diets import Diets
from modelcollapse.families.estimators.estimator import STATES_FILE, SegmentStates
from modelcollapse.families.gaussian.theory import gaussian_expectations, population_moments, variance_kept
from modelcollapse.populations.settings import PopulationSettings, refuse
from modelcollapse.settings import SettingsError

GAUSSIAN = (
    "experiment=paper_gaussian",
    "tracking=none",
    "trainer.threads=1",
    "model.synthesis=samples",
    "model.estimator=biased",
)
MEMBERS, ROWS, FITS = 4, 5, 5
"""Of a population that shares out 20 rows: what members differ by is as large as can be."""
SPLIT = (
    *GAUSSIAN,
    "population=split",
    f"population.models={MEMBERS}",
    f"data.rows={MEMBERS * ROWS}",
    f"generations={FITS - 1}",
    "model.replicates=4000",
)
ERRORS = 4
"""Standard errors within which a mean agrees."""


def moments_of(run):
    """Squared error of the mean, variance, and product of two members' errors: [fits, replicates] each."""
    folders = dict.fromkeys(run.store.folder(each.artifacts["model"]) for each in run.generations())
    states = [SegmentStates.read(folder).states for folder in folders]
    mean, factor = (torch.cat([each[name] for each in states]).flatten(1) for name in ("mean", "factor"))
    true = run.settings.data.mean[0]
    error, variance = (values.unflatten(1, (run.settings.population.models, -1)) for values in (mean - true, factor**2))
    total, squares = error.sum(1).square(), error.square().sum(1)
    count = error.shape[1]
    return squares / count, variance.mean(1), (total - squares) / (count * (count - 1))


def far(expected, measured):
    """The largest distance of expected moments from means over replicates, in standard errors."""
    found = []
    for theory, values in zip(expected, measured, strict=True):
        error = values.std(dim=1) / values.shape[1] ** 0.5
        distance = (values.mean(1) - torch.from_numpy(theory)).abs()
        found.append(float((distance / error.clamp(min=1e-12)).max()))
    return max(found)


@pytest.mark.parametrize("diet", ["own", "other", "random", "union"])
def test_moments_under_every_diet_are_the_closed_forms(chain, diet):
    run = chain(*SPLIT, f"population.diet={diet}")
    scale = run.settings.data.covariance[0][0]
    population, measured = run.settings.population, moments_of(run)

    def expected(population, rows=ROWS, estimator="biased"):
        return [scale * values for values in population_moments(population, rows, FITS, estimator)]

    assert far(expected(population), measured) < ERRORS
    wrong = [
        expected(population, rows=ROWS + 1),
        expected(population, estimator="unbiased"),
        expected(replace(population, models=MEMBERS + 2)),
        expected(replace(population, diet="own" if diet == "union" else "union")),
    ]
    if diet in ("own", "other"):
        # The number of members does not matter to them.
        del wrong[2]
    assert all(far(each, measured) > ERRORS for each in wrong)
    recorded = run.lines()[-1]
    assert recorded["variance/mean"] == pytest.approx(float(measured[1][-1].mean()))
    of_members = [recorded[f"member_{member}/variance/mean"] for member in range(MEMBERS)]
    assert recorded["variance/mean"] == pytest.approx(sum(of_members) / MEMBERS)


def test_one_model_has_the_moments_of_a_chain():
    population = PopulationSettings(models=1, diet="union")
    error, variance, _ = population_moments(population, 7, 9, "biased")
    assert variance == pytest.approx(variance_kept([7] * 9, "biased"))
    assert error + variance == pytest.approx(np.ones(9))


def test_shared_real_rows_make_equal_models_and_diets_tell_them_apart(chain):
    run = chain(*GAUSSIAN, "population.models=3", "data.rows=6", "generations=1", "model.replicates=50")
    first, second = (
        load_file(run.store.folder(each.artifacts["model"]) / STATES_FILE)["mean"][0] for each in run.generations()
    )
    assert first.shape == (150, 1)
    assert torch.equal(first[:50], first[50:100])
    assert torch.equal(first[:50], first[100:])
    assert not torch.isclose(second[:50], second[50:100]).any()


def test_rows_of_a_union_are_drawn_without_replacement_from_the_own_replicate():
    population = PopulationSettings(models=3, diet="union")
    rows = torch.arange(3 * 2 * 4, dtype=torch.float64).reshape(6, 4, 1)
    given = Diets(population, replicates=2, seed=0).of_written(rows, 1)
    assert given.shape == rows.shape
    for place, diet in enumerate(given):
        of_replicate = {float(row) for member in range(3) for row in rows[2 * member + place % 2, :, 0]}
        assert len(set(diet.flatten().tolist())) == 4
        assert set(diet.flatten().tolist()) <= of_replicate


def test_statistics_are_handed_on_whole(chain):
    words = (*SPLIT, "population.diet=other", "model.synthesis=statistics", "model.replicates=2000")
    run = chain(*words)
    scale = run.settings.data.covariance[0][0]
    expected = [scale * values for values in population_moments(run.settings.population, ROWS, FITS, "biased")]
    assert far(expected, moments_of(run)) < ERRORS


def test_theory_is_drawn_for_the_regime_that_it_knows(chain):
    run = chain(*SPLIT, "model.replicates=2", "regime=accumulate", execute=False)
    from modelcollapse.families.estimators.theory import Plan

    plan = Plan(run.settings.regime, 3, ROWS)
    found = gaussian_expectations(plan, run.settings.model, run.settings.data, run.settings.population)
    assert all(np.isnan(values).all() for values in found.values())


def test_one_model_has_the_keys_of_a_chain(chain):
    plain, one = (
        [each.artifacts for each in chain(*GAUSSIAN, "generations=2", *more, execute=False).generations()]
        for more in ((), ("population=split", "population.models=1"))
    )
    assert plain == one


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("population.sizes=[2,1,1,1]",),
            "population.sizes: unequal sizes are not allowed with model.family=gaussian, whose members are one batch",
        ),
        (("population.sizes=[2,1]",), "population.sizes: 2 numbers for 4 members; it must have one for each (populat"),
        (("model.synthesis=statistics",), "model.synthesis: 'statistics' knows whole sets only, and population.diet="),
        (("population.models=11",), "population.models: 11 members have 1 of 20 rows each, which leaves a covariance"),
        (("population.models=21",), "population.models: 21 members cannot share 20 rows of the real training split"),
    ],
)
def test_what_cannot_be_is_said(compose_values, words, expected):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*SPLIT, *words))
    assert any(problem.startswith(expected) for problem in caught.value.problems)


def test_members_that_do_not_fit_into_memory_together_are_counted(compose_values, monkeypatch):
    words = (*SPLIT, "population.data=shared", "population.models=60", "model.replicates=100000", "data.rows=100")
    monkeypatch.setattr(estimators, "physical_memory", lambda: 10**9)
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*words))
    (problem,) = caught.value.problems
    assert problem.startswith("population.models: 60 members of 100000 replicates under regime=replace hold samples of")
    assert problem.endswith("choose model.replicates=6944 or fewer members, generations or data.rows")


def test_families_without_populations_refuse_them(compose_values):
    class Alone:
        family = "alone"

    (problem,) = refuse(PopulationSettings(models=2), Alone())
    assert problem == (
        "population.models: 2 members are not allowed with model.family=alone, which has no populations; choose"
        " population=none"
    )
