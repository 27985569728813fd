"""Populations of estimator families: closed forms of discrete ones, selections, and whose rows members have."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.families.discrete.theory import population_identity
from modelcollapse.families.estimators.diets import Diets
from modelcollapse.families.estimators.estimator import SegmentStates
from modelcollapse.families.estimators.row_sets import WeighedRows
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError

N, R = 24, 3
SMALL = ("decoding=none", "tracking=none", "trainer.threads=1", f"model.replicates={R}", f"data.rows={N}")
SMALL = (*SMALL, "generations=2")
SAMPLES = "model.synthesis=samples"
FAMILIES = {
    "gaussian": (*SMALL, "model=gaussian", "data=gaussian_samples", SAMPLES),
    "discrete": (*SMALL, "model=discrete", "data=categorical_samples", SAMPLES),
    "gaussian_mixture": (*SMALL, "model=gaussian_mixture", "data=gaussian_samples"),
    "linear_regression": (*SMALL, "model=linear_regression", "data=linear_samples", "data.dimension=4", SAMPLES),
    "logistic_regression": (*SMALL, "model=logistic_regression", "data=logistic_samples", "model.ridge=0.1"),
    "kernel_density": (*SMALL, "model=kernel_density", "data=gaussian_samples"),
}
SPLIT = ("population=split", "population.models=2")


def state(run, generation):
    return SegmentStates.read(run.store.folder(run.generations()[generation].artifacts["model"])).state(generation)


def same(one, other):
    return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-9) for name in one)


# ---- closed forms of discrete populations -----------------------------------------------------------------------

MEMBERS, ROWS, FITS = 3, 4, 5


@pytest.mark.parametrize(
    ("diet", "data"),
    [("own", "split"), ("other", "split"), ("random", "split"), ("union", "split"), ("union", "shared")],
)
def test_the_probabilities_that_draws_agree_are_the_closed_forms(chain, diet, data):
    words = ("model=discrete", "data=categorical_samples", SAMPLES, *SMALL[:3], "data.states=5")
    rows = MEMBERS * ROWS if data == "split" else ROWS
    words = (*words, f"data.rows={rows}", "model.replicates=3000", f"generations={FITS - 1}", f"population={data}")
    run = chain(*words, f"population.models={MEMBERS}", f"population.diet={diet}")
    population, true = run.settings.population, run.settings.data.probabilities
    own, across = population_identity(true, population, ROWS, FITS)

    def far(expected_own, expected_across):
        found = []
        for fit in range(FITS):
            members = state(run, fit)["probabilities"].unflatten(0, (MEMBERS, -1))
            squares = members.square().sum(2).mean(0)
            products = (members.sum(0).square() - members.square().sum(0)).sum(1) / (MEMBERS * (MEMBERS - 1))
            for values, expected in ((squares, expected_own[fit]), (products, expected_across[fit])):
                error = values.std() / len(values) ** 0.5
                found.append(abs(float(values.mean()) - expected) / max(float(error), 1e-12))
        return max(found)

    assert far(own, across) < 4
    assert far(*population_identity(true, population, ROWS + 1, FITS)) > 4
    other = PopulationSettings(MEMBERS, data, "own" if diet in ("random", "union") else "union")
    assert far(*population_identity(true, other, ROWS, FITS)) > 4
    line = run.lines()[-1]
    members = [line[f"member_{member}/heterozygosity/mean"] for member in range(MEMBERS)]
    assert line["heterozygosity/mean"] == pytest.approx(np.mean(members))
    if diet == "union":
        # One of the two forms is drawn beside what is measured; of the other measures none is known.
        table = run.family.report([], SimpleNamespace(model="", regime="", seeds="")).tables["discrete"]
        assert table["theory/heterozygosity"].to_numpy() == pytest.approx(1 - own)
        assert table["theory/survivors"].isna().all()


# ---- every family -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family",
    [
        pytest.param("gaussian_mixture", marks=pytest.mark.slow),
        "linear_regression",
        "logistic_regression",
        pytest.param("kernel_density", marks=pytest.mark.slow),
    ],
)
def test_members_of_every_family_are_trained_on_what_all_wrote(chain, family):
    run = chain(*FAMILIES[family], *SPLIT)
    assert run.family.data.rows == N // 2
    first = state(run, 0)
    assert all(len(each) == 2 * R for each in first.values())
    assert not same({name: each[:R] for name, each in first.items()}, {name: each[R:] for name, each in first.items()})
    name = run.family.headline[0][0]
    line = run.lines()[2]
    assert line[name] == pytest.approx((line[f"member_0/{name}"] + line[f"member_1/{name}"]) / 2)
    report = run.family.report([], SimpleNamespace(model="", regime="", seeds=""))
    theory = report.tables[family].filter(like="theory/").iloc[1:]
    assert theory.isna().all(axis=None)


@pytest.mark.parametrize("family", ["linear_regression", "logistic_regression"])
def test_members_that_share_real_rows_label_the_same_features(chain, family):
    """Those of the real rows that all have, with ``model.features=same``."""
    run = chain(*FAMILIES[family], "population=shared", "generations=0")
    real = run.family.build_estimator().real(N, Stream(0, 0, "real"))
    labelled = run.family.load_synthetic(0, {"model": run.store.folder(run.generations()[0].artifacts["model"])})
    assert torch.equal(labelled[:R, :, :-1], labelled[R:, :, :-1])
    assert torch.equal(labelled[:R, :, :-1], real[:R, :, :-1])
    assert not torch.equal(labelled[:R, :, -1], labelled[R:, :, -1])


# ---- selections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["synthetic", "training_set"])
def test_each_member_selects_by_itself(chain, scope):
    """With diet own a member is a replicate: one that selects is the one that it is without the others' selections."""
    words = ("selection=top", "selection/scorer=confidence", f"selection.scope={scope}", "population=split")
    words = (*words, *(("selection.oversampling=1", "selection.size=0.5") if scope == "training_set" else ()))
    run = chain(*FAMILIES["gaussian"], *words, "population.diet=own", "regime=accumulate")
    first = state(run, 0)
    spread = first["factor"][:, 0, 0]
    second = state(run, 1)["factor"][:, 0, 0]
    assert (second < spread).all()
    line = run.lines()[1]
    kept = [line[f"member_{member}/selection/kept_share/mean"] for member in range(2)]
    assert kept == [0.5, 0.5]
    scores = [line[f"member_{member}/selection/mean_score_kept/mean"] for member in range(2)]
    assert scores[0] != scores[1]
    assert line["selection/mean_score_kept/mean"] == pytest.approx(np.mean(scores))


def test_what_was_kept_and_weighed_is_handed_on_with_its_weights():
    population = PopulationSettings(models=3, diet="union")
    rows = torch.arange(3 * 2 * 4, dtype=torch.float64).reshape(6, 4, 1)
    given = Diets(population, 2, 0).of_written(WeighedRows(rows, rows[..., 0] + 1), 1)
    expected = given.rows[..., 0] + 1
    torch.testing.assert_close(given.weights, expected / expected.mean(1, keepdim=True))
    other = Diets(PopulationSettings(models=3, diet="other"), 2, 0).of_written(WeighedRows(rows, rows[..., 0]), 1)
    assert torch.equal(other.rows, rows.roll(-2, 0))
    assert torch.equal(other.weights, rows[..., 0].roll(-2, 0))


def test_too_few_rows_of_a_member_for_the_components_are_one_message(compose_values):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*FAMILIES["gaussian_mixture"], *SPLIT, "model.components=13"))
    (problem,) = caught.value.problems
    assert problem.startswith("model.components: 13 must be at most 12, what each of 2 members has of 24 rows")
