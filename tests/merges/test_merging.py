"""Merges by themselves: weights of networks, parameters of estimators, and the closed forms of merged Gaussians."""

import numpy as np
import pytest
import torch

from modelcollapse.errors import UserError
from modelcollapse.families.estimators.estimator import FitFailed, SegmentStates
from modelcollapse.families.gaussian import theory
from modelcollapse.merges.applying import merge_network, weights_of
from modelcollapse.merges.methods import Average, NegativeExtrapolation
from modelcollapse.merges.settings import AverageSettings, NegativeExtrapolationSettings
from modelcollapse.registry import Choice, Member, register
from modelcollapse.settings import SettingsError

NEON = Choice("merges", "negative_extrapolation", NegativeExtrapolationSettings(0.5))
HALF = Choice("merges", "average", AverageSettings(0.25))


def test_both_methods_are_their_formulas():
    fitted, reference = {"a": torch.tensor([1.0, -2.0])}, {"a": torch.tensor([3.0, 2.0])}
    assert NegativeExtrapolation(0.5)(fitted, reference=reference)["a"].tolist() == [4.0, 4.0]
    assert Average(0.25)(fitted, reference=reference)["a"].tolist() == [1.5, -1.0]


class Tied(torch.nn.Module):
    """Two layers of one weight, a weight in half precision, a counter and a buffer of numbers."""

    def __init__(self, value):
        super().__init__()
        self.first, self.second = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.low = torch.nn.Parameter(torch.full((3,), value, dtype=torch.bfloat16))
        self.register_buffer("steps", torch.tensor(int(value)))
        self.register_buffer("mean", torch.tensor(value))
        torch.nn.init.constant_(self.first.weight, value)


def test_shared_weights_half_precision_and_buffers_of_a_network():
    network, reference = Tied(1.0), Tied(3.0)
    merge_network(NEON, network, {"reference": lambda: weights_of(reference)})
    assert network.first.weight is network.second.weight
    assert network.first.weight.tolist() == [[4.0, 4.0], [4.0, 4.0]], "a shared weight is merged once"
    assert network.low.dtype == torch.bfloat16
    assert network.low.tolist() == [4.0] * 3
    assert (network.steps.item(), network.mean.item()) == (1, 1.0), "buffers are those of the fitted network"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ({}, "must return the weights by the names"),
        ({"a": torch.zeros(3)}, "must return a tensor of the shape [2] for a"),
        ({"a": torch.tensor([0.0, torch.nan])}, "gave a weights that are infinite or no numbers"),
    ],
)
def test_what_a_merge_gives_back_is_looked_at(returned, expected):
    register(Member("merges", "broken", lambda fitted: returned, origin="test"))
    module = torch.nn.Module()
    module.a = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(UserError, match="'broken'") as caught:
        merge_network(Choice("merges", "broken"), module, {})
    assert expected in str(caught.value)


# ---- Gaussians ------------------------------------------------------------------------------------------------

ROWS, GENERATIONS, REPLICATES = 20, 4, 4000
SMALL = (
    "experiment=paper_gaussian",
    "tracking=none",
    "trainer.threads=1",
    "data.mean=[1.5]",
    "data.covariance=[[2.0]]",
    f"data.rows={ROWS}",
    f"model.replicates={REPLICATES}",
    f"generations={GENERATIONS}",
    "model.segment_length=2",
)
SCALE = 2.0


def states(run):
    """Mean and variance of every generation and replicate, [N + 1, R] each, in units of the true Gaussian."""
    found = [generation.artifacts["model"] for generation in run.generations()]
    segments = [SegmentStates.read(run.store.folder(artifact)) for artifact in dict.fromkeys(found)]
    means, factors = (torch.cat([each.states[name] for each in segments]) for name in ("mean", "factor"))
    return ((means[..., 0] - 1.5) / SCALE**0.5).numpy(), (factors[..., 0, 0].square() / SCALE).numpy()


@pytest.fixture(scope="module", params=["unbiased", "biased"])
def merged_gaussians(request, tmp_path_factory):
    from conftest import run_chain_of

    place = tmp_path_factory.mktemp(request.param)
    words = (*SMALL, f"model.estimator={request.param}", "merge=negative_extrapolation", "merge.weight=0.5")
    return request.param, run_chain_of(words, place / "store", place / "run")


def distance(values, expected):
    """Of the means of samples [N + 1, R] from what is expected of each, in standard errors."""
    errors = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return np.abs(values.mean(axis=1) - expected) / errors


def test_mean_and_variance_after_negative_extrapolation_are_the_closed_forms(merged_gaussians):
    kind, run = merged_gaussians
    sizes = [ROWS] * (GENERATIONS + 1)
    means, variances = states(run)
    error, variance = theory.merged_moments(sizes, 1.5, kind)
    squares = theory.merged_variance_squares(sizes, 1.5, kind)
    assert distance(means**2, error).max() < 4
    assert distance(variances, variance).max() < 4
    assert distance(variances**2, squares).max() < 4
    # A merge forgotten, or of another weight, is another result.
    plain = theory.squared_mean_error(sizes, kind)
    assert distance(means**2, plain)[1:].min() > 8
    other, _ = theory.merged_moments(sizes, 1.75, kind)
    assert distance(means**2, other)[1] > 4
    assert distance(variances**2, theory.merged_variance_squares(sizes, 2.0, kind))[1] > 4


def test_after_one_generation_the_forms_are_those_by_hand():
    """With b = 1 - 1/M: E[var] = b (1 + w/M), and e = (1 - w^2) / M + w^2 (1/M + b/M)."""
    rows, weight = 10, 0.5
    error, variance = theory.merged_moments([rows, rows], 1 + weight, "biased")
    kept = 1 - 1 / rows
    assert variance[1] == pytest.approx(kept * (1 + weight / rows))
    assert error[1] == pytest.approx((1 - weight**2) / rows + weight**2 * (1 / rows + kept / rows))
    no_merge = theory.merged_moments([rows] * 5, 0.0, "biased")
    assert no_merge[0] == pytest.approx(theory.squared_mean_error([rows] * 5, "biased"))
    assert no_merge[1] == pytest.approx(theory.variance_kept([rows] * 5, "biased"))


def test_theory_is_drawn_beside_merged_chains(merged_gaussians, chain):
    from modelcollapse.families.base import ChainTitle

    kind, run = merged_gaussians
    results = [(work.generation.number, work.result) for work in run.works]
    table = run.family.report(results, ChainTitle("Gaussian", "replace", "0")).tables["gaussian"]
    error, _ = theory.merged_moments([ROWS] * (GENERATIONS + 1), 1.5, kind)
    assert table["theory/squared_mean_error"].tolist() == pytest.approx((SCALE * error).tolist())
    assert table["theory/squared_wasserstein"].isna().all()


def test_segments_of_any_length_merge_alike(chain):
    words = (*SMALL, "model.replicates=3", "merge=average")
    long, short = (chain(*words, f"model.segment_length={length}") for length in (4, 1))
    assert [each.tolist() for each in states(long)] == [each.tolist() for each in states(short)]


def test_without_a_merge_keys_are_as_before_and_with_one_generation_0_is_shared(chain):
    plain, none, merged = (
        chain(*SMALL, *words, execute=False).generations()
        for words in ((), ("merge=none",), ("merge=average", "merge.share=0.1"))
    )
    assert [each.artifacts for each in plain] == [each.artifacts for each in none]
    assert plain[0].artifacts["model"] == merged[0].artifacts["model"]
    assert plain[1].artifacts["model"] != merged[1].artifacts["model"]
    assert "merge" not in plain[1].artifacts["model"].recipe


@pytest.mark.parametrize(
    "words",
    [
        (*SMALL, "merge=negative_extrapolation", "merge.weight=20", "data.rows=3"),
        (
            *("experiment=paper_discrete", "tracking=none", "trainer.threads=1", "generations=60"),
            *("merge=negative_extrapolation", "merge.weight=5", "data.rows=20", "model.replicates=50"),
        ),
    ],
)
def test_merged_parameters_of_no_distribution_are_one_message(chain, words):
    with pytest.raises(FitFailed, match=r"generation \d+: the merged (covariance|probabilities) of \d+ of \d+"):
        chain(*words)


def test_average_of_probabilities_brings_lost_states_back(chain):
    words = ("experiment=paper_discrete", "tracking=none", "trainer.threads=1", "generations=200", "data.rows=10")
    run = chain(*words, "model.replicates=20", "merge=average", "merge.share=0.1")
    assert run.lines()[-1]["single/mean"] == 0
    assert run.lines()[-1]["survivors/mean"] > 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("experiment=paper_gmm", "merge=average"),
            "merge.name: 'average' is not allowed with model.family=gaussian_mixture",
        ),
        ((*SMALL, "merge=average", "merge.share=2"), "merge.share: 2 is not allowed"),
        ((*SMALL, "+merge.share=0.5"), "merge.share: no such setting; merge none has none"),
    ],
)
def test_what_is_refused_is_one_message(compose_values, words, expected):
    from modelcollapse.config.settings import read_chain_settings

    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*words))
    (problem,) = caught.value.problems
    assert problem.startswith(expected)
