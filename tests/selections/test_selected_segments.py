"""Selection inside the segments of estimator families: what is kept of what models write, and the same again."""

import os
import signal
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import run_chain_of
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.errors import UserError
from modelcollapse.families.estimators.estimator import SegmentStates
from modelcollapse.families.estimators.training import Samples, WeighedRows
from modelcollapse.families.gaussian.estimator import GaussianEstimator
from modelcollapse.families.linear_regression.estimator import LinearRegressionEstimator
from modelcollapse.families.logistic_regression.estimator import LogisticRegressionEstimator
from modelcollapse.regimes import REAL, Draw, Source
from modelcollapse.registry import Choice, Member, register, registry
from modelcollapse.seeding import Stream
from modelcollapse.selections.replicates import choose_replicates, score_replicates
from modelcollapse.settings import SettingsError
from processes import fork_server

N, R = 20, 4
SMALL = ("decoding=none", "tracking=none", "trainer.threads=1", f"model.replicates={R}", f"data.rows={N}")
SMALL = (*SMALL, "generations=3")
GAUSSIAN = (*SMALL, "model=gaussian", "data=gaussian_samples", "data.mean=[0,1]", "data.covariance=[[1,0.5],[0.5,2]]")
GAUSSIAN = (*GAUSSIAN, "model.synthesis=samples")
LOGISTIC = (*SMALL, "model=logistic_regression", "data=logistic_samples", "model.ridge=0.1")
FAMILIES = {
    "gaussian": GAUSSIAN,
    "discrete": (*SMALL, "model=discrete", "data=categorical_samples", "model.synthesis=samples"),
    "gaussian_mixture": (*SMALL, "model=gaussian_mixture", *GAUSSIAN[-4:-1]),
    "linear_regression": (*SMALL, "model=linear_regression", "data=linear_samples", "model.synthesis=samples"),
    "logistic_regression": LOGISTIC,
    "kernel_density": (*SMALL, "model=kernel_density", "data=gaussian_samples", "model.centres=40"),
}
CONFIDENT = ("selection=top", "selection/scorer=confidence")
CHOSEN = {
    "gaussian": ("selection=threshold", "selection/scorer=surplexity", "selection.rule.at_least=2", "regime=general"),
    "discrete": CONFIDENT,
    "gaussian_mixture": CONFIDENT,
    "linear_regression": ("selection=top", "selection/scorer=surplexity", "regime=golden_ratio"),
    "logistic_regression": ("selection=verifier", "selection/scorer=oracle", "selection.rule.at_least=1"),
    "kernel_density": ("selection=tournament", "regime=accumulate"),
}
REPEAT = "selection.shortfall=repeat"


def state(run, generation):
    return SegmentStates.read(run.store.folder(run.generations()[generation].artifacts["model"])).state(generation)


def problems(compose_values, *overrides):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    return caught.value.problems


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_selects_and_says_what_was_kept(chain, family):
    run = chain(*FAMILIES[family], *CHOSEN[family], REPEAT)
    for line in run.lines():
        share = line["selection/kept_share/mean"]
        assert 0 < share <= 0.5
        kept, of_all, lowest = (
            line[f"selection/{name}/mean"] for name in ("mean_score_kept", "mean_score_candidates", "threshold")
        )
        assert np.isfinite(kept)
        assert kept >= of_all - 1e-12
        assert lowest <= kept + 1e-12
        assert {f"selection/threshold/{name}" for name in ("standard_deviation", "p05", "median", "p95")} <= set(line)


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    place = tmp_path_factory.mktemp("top")
    words = (*GAUSSIAN, "selection=top", "selection/scorer=true_likelihood", "model.segment_length=2")
    return run_chain_of(words, place / "store", place / "run")


def kept_of(run, generation):
    """The rows of the highest true likelihood, out of the candidates drawn again here: [R, N, d]."""
    estimator = run.family.build_estimator()
    rows = estimator.draw(state(run, generation), 2 * N, Stream(0, generation, "synthesis"))
    normal = torch.distributions.MultivariateNormal(
        torch.tensor([0.0, 1], dtype=torch.float64), torch.tensor([[1, 0.5], [0.5, 2]], dtype=torch.float64)
    )
    best = normal.log_prob(rows).argsort(dim=1, descending=True)[:, :N].sort(1).values
    return rows.gather(1, best[:, :, None].expand(-1, -1, 2))


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_what_was_kept_is_what_the_next_generation_is_fitted_to(top, generation):
    kept = kept_of(top, generation)
    torch.testing.assert_close(state(top, generation + 1)["mean"], kept.mean(1), rtol=0, atol=1e-12)
    folders = {"model": None, "start": None}
    for role, artifact in top.generations()[generation].artifacts.items():
        folders[role] = top.store.folder(artifact)
    folders["start"] = top.store.folder(top.generations()[0].artifacts["model"])
    assert (top.family.load_synthetic(generation, folders) == kept).all()


def test_what_was_kept_is_measured_for_each_replicate(top):
    segment = load_file(top.store.folder(top.generations()[2].artifacts["selection"]) / "selection.safetensors")
    assert segment["threshold"].shape == (2, R)
    threshold = GaussianEstimator(top.settings.model, top.settings.data).true_log_likelihood(kept_of(top, 2)).amin(1)
    torch.testing.assert_close(segment["threshold"][1], threshold)


def test_theory_says_nothing_of_a_chain_that_selects(top):
    report = top.family.report([], SimpleNamespace(model="", regime="", seeds=""))
    assert report.tables["gaussian"].filter(like="theory/").notna().sum(axis=1).tolist()[1:] == [0, 0, 0]


# ---- keys -----------------------------------------------------------------------------------------------------


def test_a_random_choice_of_all_has_the_keys_of_no_selection(chain):
    plain, random = (
        [generation.artifacts for generation in chain(*GAUSSIAN, *more, execute=False).generations()]
        for more in ((), ("selection=random", "selection.oversampling=1"))
    )
    assert plain == random


def test_selections_share_generation_0_and_nothing_after_it(chain):
    words = [(), CONFIDENT, (*CONFIDENT, "selection.oversampling=3"), ("selection=top", "selection/scorer=surplexity")]
    found = [chain(*GAUSSIAN, *more, execute=False).generations() for more in words]
    assert len({each[0].artifacts["model"].key for each in found}) == 1
    assert len({each[1].artifacts["model"].key for each in found}) == len(words)


# ---- weights --------------------------------------------------------------------------------------------------


@pytest.fixture
def weighing():
    """Register a rule that keeps the first candidates and weighs them by 1, 2, 3, ..."""

    def counted(candidates, wanted, stream):
        return torch.arange(wanted), torch.arange(1.0, wanted + 1) + stream.replicate

    register(Member("rules", "counted", counted, options={"needs": ("stream",)}, origin="test"))
    yield
    del registry("rules")._members["counted"]


@pytest.mark.parametrize("family", ["gaussian", "gaussian_mixture", "kernel_density", "logistic_regression"])
def test_replicates_weigh_their_rows_apart_as_rows_that_are_repeated(compose_values, family):
    words = {"gaussian_mixture": ("model.max_iterations=5",), "kernel_density": ("model.bandwidth=0.5",)}
    settings = read_chain_settings(compose_values(*FAMILIES[family], *words.get(family, ())))
    member = __import__(f"modelcollapse.families.{family}.estimator", fromlist=["x"])
    estimator = next(
        value
        for name, value in vars(member).items()
        if name.endswith("Estimator") and value.__module__ == member.__name__
    )(settings.model, settings.data)
    rows, stream = estimator.real(N, Stream(0, 0, "real")), Stream(0, 0, "fit")
    counts = torch.from_numpy(np.random.default_rng(0).permuted(np.tile([1, 1, 2, 4], (R, N // 4)), axis=1)).double()
    apart = estimator.fit(rows, counts / 2, None, stream).state
    for number in range(R):
        repeated = rows.repeat_interleave(counts[number].long(), dim=1)
        together = estimator.fit(repeated, None, None, stream).state
        names = set(apart) - {"centres", "factor"}
        for name in names if family != "gaussian_mixture" else ():
            torch.testing.assert_close(apart[name][number], together[name][number])
        shared = estimator.fit(rows, counts[number] / 2, None, stream).state
        for name in set(apart) - {"centres"}:
            torch.testing.assert_close(apart[name][number], shared[name][number])


def test_what_a_rule_weighs_counts_so_much_within_the_share_of_its_draw(chain, weighing):
    run = chain(*GAUSSIAN, "regime=golden_ratio", "selection=random", "selection.rule.name=counted", "generations=1")
    estimator = run.family.build_estimator()
    real = estimator.real(N, Stream(0, 0, "real"))
    fresh = estimator.real(N, Stream(0, 1, "fresh"))
    rows = estimator.draw(state(run, 0), 2 * N, Stream(0, 0, "synthesis"))[:, :N]
    weights = torch.stack([torch.arange(1.0, N + 1) + number for number in range(R)]).double()
    kept = (rows * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)
    golden = (5**0.5 - 1) / 2
    used = [golden * part.mean(1) + (1 - golden) * kept for part in (real, fresh)]
    assert any(torch.allclose(state(run, 1)["mean"], each, rtol=0, atol=1e-9) for each in used)


def test_weights_stay_with_their_rows_where_a_draw_takes_some():
    rows = torch.arange(10.0, dtype=torch.float64).expand(3, 10)[:, :, None]
    sets = {Source("synthetic", 0): WeighedRows(rows, rows[..., 0] / 4.5), REAL: rows + 100}
    draws = [Draw((REAL, Source("synthetic", 0)), 1.0, Stream(0, 1, "draw.pool"))]
    found, weights = Samples(SimpleNamespace(real=None, draw=None)).union(draws, [10], sets)
    expected = torch.where(found[..., 0] >= 100, 1.0, found[..., 0] / 4.5)
    torch.testing.assert_close(weights, expected / expected.mean(1, keepdim=True))


# ---- kills ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lasting:
    """Likes large first coordinates; kills its process where a file says that it is time."""

    place: str = ""

    def __call__(self, candidates):
        calls = os.environ.get("LASTING_CALLS")
        if calls:
            os.environ["LASTING_CALLS"] = str(int(calls) - 1)
            if calls == "1":
                os.kill(os.getpid(), signal.SIGKILL)
        return candidates[:, 0]


def lasting():
    register(Member("scorers", "lasting", Lasting, settings=Lasting, options={"needs": ()}, origin="test"))


def run_until(calls, words, store, folder):
    os.environ["LASTING_CALLS"] = str(calls)
    lasting()
    run_chain_of(words, store, folder)


# A call for each replicate: 4 for what is measured of generation 0, 12 in the first segment, 4 for its last set, which
# no fit has selected; the process ends while the second segment is at work on generation 5. Training sets are selected
# where they are fitted, D_1 once more where rows of it are first used again.
KILLED = {
    "synthetic": (("regime=accumulate",), 4 + 12 + 4 + 6),
    "training set": (
        ("regime=general", "regime.alpha=0.5", "regime.beta=0.4", "selection.scope=training_set"),
        12 + 4 + 4 + 2,
    ),
}


@pytest.mark.parametrize("scope", KILLED)
def test_a_chain_killed_inside_a_selecting_segment_ends_with_the_same_bits(chain, tmp_path, scope):
    lasting()
    more, calls = KILLED[scope]
    words = (*GAUSSIAN, "selection=top", "selection.scorer.name=lasting", "generations=6", "model.segment_length=3")
    words = (*words, *more, *(("selection.oversampling=1", "selection.size=0.75") if scope != "synthetic" else ()))
    whole = chain(*words, store=tmp_path / "whole")
    process = fork_server().Process(target=run_until, args=(calls, words, tmp_path / "killed", tmp_path / "r"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = chain(*words, store=tmp_path / "killed")
    assert "generations 1 to 3" not in resumed.computed()
    assert "generations 4 to 6" in resumed.computed()
    for name in ("generations.jsonl", "histograms.jsonl", "provenance.jsonl"):
        assert resumed.bytes(name) == whole.bytes(name), name
    for kept, expected in zip(resumed.generations(), whole.generations(), strict=True):
        for role, artifact in kept.artifacts.items():
            assert resumed.store.manifest(artifact).files == whole.store.manifest(expected.artifacts[role]).files


# ---- rules and scorers of many replicates ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("random", {}),
        ("top", {}),
        ("tournament", {"sharpness": 1.0}),
        ("resample", {"exponent": 1.0, "most_repeats": 2}),
    ],
)
def test_a_rule_chooses_in_each_replicate_by_its_own_scores(rule, settings):
    member = registry("rules")[rule]
    choice = Choice("rules", rule, member.settings(**settings) if settings else None)
    scores = torch.full((R, 12), 0.1, dtype=torch.float64)
    for number in range(R):
        scores[number, number] = 50.0
    kept = choose_replicates(choice, (R, 12), 4, scores, Stream(0, 0, "selection.rule"), "stop").rows
    assert kept.shape == (R, 4)
    if rule != "random":
        assert [number in kept[number] for number in range(R)] == [True] * R
    alone = choose_replicates(choice, (1, 12), 4, scores[:1], Stream(0, 0, "selection.rule"), "stop").rows
    assert (kept[0] == alone[0]).all() or rule == "tournament"


def test_equal_scores_keep_what_was_written_first_in_each_replicate():
    kept = choose_replicates(Choice("rules", "top"), (3, 8), 4, torch.zeros(3, 8), Stream(0, 0, "x"), "stop")
    assert kept.rows.tolist() == [[0, 1, 2, 3]] * 3


def test_a_scorer_without_replicates_sees_one_set_after_the_other():
    seen = []

    def centred(candidates, stream):
        seen.append((candidates.shape, stream.replicate))
        return -(candidates - candidates.mean(0)).norm(dim=1)

    register(Member("scorers", "centred", centred, options={"needs": ("stream",)}, origin="test"))
    rows = torch.arange(24.0, dtype=torch.float64).view(2, 4, 3)
    available = {"stream": lambda: Stream(0, 0, "selection.scores")}
    found = score_replicates(Choice("scorers", "centred"), rows, available)
    assert seen == [((4, 3), 0), ((4, 3), 1)]
    torch.testing.assert_close(found.scores[0], found.scores[1])
    del registry("scorers")._members["centred"]


# ---- refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            (*GAUSSIAN, *CONFIDENT, "model.synthesis=statistics"),
            "selection.rule: 'top' is not allowed with model.synthesis=statistics, which draws no rows; choose"
            " model.synthesis=samples or selection=none",
        ),
        (
            (*SMALL, "model=kernel_density", "data=shapes", "model.centres=40", "selection=tournament"),
            "selection.scorer: 'true_likelihood' needs true_log_likelihood, which model.family=kernel_density with",
        ),
        (
            (*GAUSSIAN, "selection=resample"),
            "selection.scorer: 'detector' scores texts and images and states, and the rows of model.family=gaussian",
        ),
        (
            (*FAMILIES["kernel_density"], "selection=tournament", "selection.oversampling=3"),
            "model.centres: a model writes a row around each of 40, and selection.oversampling=3 asks for 60 candid",
        ),
        (
            (*GAUSSIAN, *CONFIDENT, "selection.within=prompt"),
            "selection.within: 'prompt' is not allowed with model.family=gaussian, which has no prompts",
        ),
        (
            (*GAUSSIAN, "selection=top", "selection/scorer=distance", "selection.scorer.point=[0,0,0]"),
            "selection.scorer.point: [0.0, 0.0, 0.0] must have 2 numbers, as a row has, or one for all of them",
        ),
        (
            (*GAUSSIAN, "selection=top", "selection/scorer=oracle"),
            "selection.scorer: 'oracle' needs is_right, which model.family=gaussian with data.kind=",
        ),
    ],
)
def test_a_selection_that_is_not_possible_is_one_message(compose_values, overrides, expected):
    (problem,) = problems(compose_values, *overrides)
    assert problem.startswith(expected)


def test_too_few_that_pass_stop_the_run_with_one_message_and_what_was_fitted_is_kept(chain):
    words = (*LOGISTIC, "selection=threshold", "selection/scorer=oracle", "selection.rule.at_least=1")
    words = (*words, "selection.oversampling=1", "model.segment_length=1")
    with pytest.raises(UserError) as caught:
        chain(*words)
    assert str(caught.value).startswith("selection.rule: ")
    assert "candidates pass, and 20 are wanted; raise selection.oversampling" in str(caught.value)
    assert chain(*words, REPEAT).computed()[0] != "generation 0"


def test_no_candidate_that_passes_is_one_message_also_where_rows_may_be_repeated(chain):
    words = (*LOGISTIC, "selection=threshold", "selection/scorer=oracle", "selection.rule.at_least=2", REPEAT)
    with pytest.raises(UserError, match=r"selection\.rule: 0 of 40 candidates pass, and 20 are wanted"):
        chain(*words)


# ---- likelihoods ----------------------------------------------------------------------------------------------


def test_a_row_of_a_regression_is_its_features_and_its_label(compose_values):
    linear = read_chain_settings(compose_values(*FAMILIES["linear_regression"], "data.noise=2"))
    logistic = read_chain_settings(compose_values(*LOGISTIC))
    for settings, family in ((linear, LinearRegressionEstimator), (logistic, LogisticRegressionEstimator)):
        estimator = family(settings.model, settings.data)
        rows = estimator.real(50, Stream(0, 0, "real"))
        x, y = rows[..., :-1], rows[..., -1]
        signal = x @ estimator.true["weights"]
        label = (
            torch.distributions.Normal(signal, 2.0)
            if settings is linear
            else torch.distributions.Bernoulli(logits=signal)
        )
        normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
        expected = normal.log_prob(x).sum(2) + label.log_prob(y)
        torch.testing.assert_close(estimator.true_log_likelihood(rows), expected)
        if settings is logistic:
            assert (estimator.is_right(rows) == ((signal > 0) == (y == 1))).all()


def test_the_plan_names_what_is_selected(train):
    finished = train(*GAUSSIAN, *CONFIDENT, "plan=true")
    assert finished.code == 0, finished.err
    assert "generations 1 to 3 · selecting" in finished.out
