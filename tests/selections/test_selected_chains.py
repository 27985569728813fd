"""Chains in which what is written is selected: what is kept, what is shared, and what is refused."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY, TINY_VAE
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.blocks import read_blocks
from modelcollapse.data.images import read_images
from modelcollapse.families.language_model.training_set import composed_blocks
from modelcollapse.regimes import compose
from modelcollapse.registry import Member, register, registry
from modelcollapse.selections.choosing import SCORES_FILE
from modelcollapse.selections.kept import read_kept
from modelcollapse.settings import SettingsError
from modelcollapse.store import Store

N = 60
"""Blocks of the real training split in the tiny chain."""
SAMPLED = (*TINY, "decoding.kind=sample", "decoding.beams=1", "generations=1")
VAE = (*TINY_VAE, "model.synthesis=fixed")


def problems(compose_values, *overrides):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    return caught.value.problems


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A chain that keeps the blocks that surprise the reference model most, of twice as many."""
    from conftest import run_chain_of

    place = tmp_path_factory.mktemp("top")
    return run_chain_of((*SAMPLED, "selection=top"), place / "store", place / "run")


def folder(run, generation, role):
    return run.store.folder(run.generations()[generation].artifacts[role])


@pytest.mark.parametrize("generation", [0, 1])
def test_top_keeps_the_blocks_of_highest_reference_loss(top, generation):
    scores = load_file(folder(top, generation, "candidate_scores") / SCORES_FILE)["scores"].numpy()
    candidates = read_blocks(folder(top, generation, "candidates"), "blocks").numpy()
    kept = read_blocks(folder(top, generation, "synthetic"), "blocks").numpy()
    assert (scores.shape, candidates.shape, kept.shape) == ((2 * N,), (2 * N, 8), (N, 8))
    expected = np.sort(np.argsort(-scores, kind="stable")[:N])
    assert read_kept(folder(top, generation, "synthetic")).rows.tolist() == expected.tolist()
    assert (kept == candidates[expected]).all()


def test_the_scores_are_the_losses_that_the_set_is_measured_by(top):
    """Loss under the reference model, generation 0's, in the chain's own measurement of what was kept."""
    scores = load_file(folder(top, 1, "candidate_scores") / SCORES_FILE)["scores"]
    kept = read_kept(folder(top, 1, "synthetic")).rows
    measured = top.works[1].result.distributions["synthetic/reference_loss"]
    assert measured == pytest.approx(scores[kept].numpy(), rel=1e-5)


def test_what_was_kept_is_what_is_trained_on_and_measured(top):
    first, second = top.generations()
    assert second.artifacts["model"].parents["synthetic_0"] == first.artifacts["synthetic"]
    assert second.artifacts["measures"].parents["synthetic"] == second.artifacts["synthetic"]


def test_the_record_says_what_was_kept_and_by_what(top):
    for line in top.lines():
        assert line["selection/kept_share"] == 0.5
        assert line["selection/mean_score_kept"] > line["selection/mean_score_candidates"]
        assert line["selection/threshold"] <= line["selection/mean_score_kept"]


def test_a_set_written_from_what_was_kept_continues_it(chain):
    overrides = (*SAMPLED, "selection=random", "decoding.prompts=previous")
    run = chain(*overrides)
    assert (
        run.generations()[1].artifacts["candidates"].parents["prompts"] == run.generations()[0].artifacts["synthetic"]
    )
    assert len(read_blocks(folder(run, 1, "candidates"), "blocks")) == 2 * N
    assert "selection/threshold" not in run.lines()[0]


def test_the_same_chain_in_another_store_keeps_the_same(top, chain):
    assert chain(*SAMPLED, "selection=top").bytes() == top.bytes()


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        (("selection=tournament",), "selection/mean_score_kept"),
        (("selection=verifier", "selection.rule.at_least=-78", "selection.shortfall=repeat"), "selection/threshold"),
        (("selection=resample", "selection.rule.exponent=1"), "selection/detector_auc"),
        (("selection=top", "selection/scorer=confidence", "selection.within=prompt"), "selection/threshold"),
    ],
)
def test_every_rule_gives_exactly_the_rows_that_the_regime_asks_for(chain, words, measured):
    run = chain(*SAMPLED, *words)
    assert len(read_blocks(folder(run, 1, "synthetic"), "blocks")) == N
    rows = read_kept(folder(run, 1, "synthetic")).rows
    assert all(measured in line for line in run.lines())
    if "selection=verifier" in words:
        _assert_says_who_was_right(run, -78)
    if "selection.within=prompt" in words or words == ("selection=tournament",):
        assert (rows % N).tolist() == list(range(N))
    assert run.bytes() == chain(*SAMPLED, *words).bytes()


def _assert_says_who_was_right(run, at_least):
    """Candidates that are right by their true likelihood, kept and not, are counted."""
    is_right = (load_file(folder(run, 1, "candidate_scores") / SCORES_FILE)["scores"] >= at_least).tolist()
    kept = set(read_kept(folder(run, 1, "synthetic")).rows.tolist())
    counts = Counter((is_right[row], row in kept) for row in range(len(is_right)))
    assert set(counts) == {(right, stays) for right in (True, False) for stays in (True, False)}
    expected = {
        f"selection/{name}_{what}": counts[right, what == "kept"]
        for name, right in (("right", True), ("wrong", False))
        for what in ("kept", "not_kept")
    }
    assert {name: run.lines()[1][name] for name in expected} == expected


def test_prompts_and_shortfall_are_in_the_keys_where_they_decide(chain):
    before, within, repeated = (
        chain(*SAMPLED, "selection=top", *more, execute=False).generations()[0].artifacts
        for more in ((), ("selection.within=prompt",), ("selection.shortfall=repeat",))
    )
    assert before["candidate_scores"] == within["candidate_scores"]
    assert before["synthetic"] != within["synthetic"]
    assert before["synthetic"] == repeated["synthetic"]


def test_images_have_no_prompts(compose_values):
    (problem,) = problems(compose_values, *VAE, "selection=top", "selection.within=prompt")
    assert problem.startswith("selection.within: 'prompt' is not allowed with model.family=vae")


# ---- keys -----------------------------------------------------------------------------------------------------


def test_rules_share_the_candidates_of_generation_0(top, chain):
    store = top.store.root
    random = chain(*SAMPLED, "selection=random", store=store)
    other, first = random.generations()[0].artifacts, top.generations()[0].artifacts
    assert other["candidates"] == first["candidates"]
    assert other["synthetic"] != first["synthetic"]
    assert "candidate_scores" not in other
    assert "generation 0 · synthesis" not in random.computed()
    assert "generation 0 · selecting" in random.computed()
    assert "generation 1 · synthesis" in random.computed()


def test_a_random_choice_of_all_is_no_selection(chain):
    plain, random = (
        chain(*SAMPLED, *overrides, execute=False).generations()
        for overrides in ((), ("selection=random", "selection.oversampling=1"))
    )
    assert [generation.artifacts for generation in random] == [generation.artifacts for generation in plain]
    assert set(plain[0].artifacts) & {"candidates", "candidate_scores"} == set()


@pytest.mark.parametrize(
    ("word", "shared"),
    [("selection.oversampling=3", set()), ("selection.scorer.name=lowest", {"candidates"})],
)
def test_what_depends_on_a_setting_of_the_selection(chain, lowest, word, shared):
    before, after = (
        chain(*SAMPLED, "selection=top", *more, execute=False).generations()[0].artifacts for more in ((), (word,))
    )
    roles = ("candidates", "candidate_scores", "synthetic")
    assert {role for role in roles if before[role] == after[role]} == shared


def test_the_plan_lists_the_stages_and_what_they_hold(train):
    finished = train(*SAMPLED, "selection=top", "plan=true")
    assert finished.code == 0
    for label in ("synthesis", "scoring candidates", "selecting"):
        assert f"generation 1 · {label}" in finished.out
    assert not (finished.folder.parent / "store").exists() or not list(
        Store(finished.folder.parent / "store").artifacts()
    )


# ---- a scorer from outside ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lowest:
    """Likes the words with low numbers."""

    power: float = 1.0

    def __call__(self, candidates, *, true_log_likelihood, real_rows, stream):
        assert len(true_log_likelihood) == len(candidates)
        assert real_rows.shape == (N, 8)
        noise = torch.rand(len(candidates), generator=stream.torch())
        return -(candidates.double().mean(1) ** self.power) + 1e-6 * noise


@pytest.fixture
def lowest():
    """Register the scorer, as a script does."""
    needs = ("true_log_likelihood", "real_rows", "stream")
    register(Member("scorers", "lowest", Lowest, settings=Lowest, options={"needs": needs}, origin="test"))
    yield
    del registry("scorers")._members["lowest"]


@pytest.fixture
def weighing():
    """Register a rule that keeps the last rows and weighs the first of them twice."""

    def last(candidates, wanted):
        return torch.arange(candidates - wanted, candidates), torch.tensor([2.0] + [1.0] * (wanted - 1))

    register(Member("rules", "weighing", last, options={"needs": ()}, origin="test"))
    yield
    del registry("rules")._members["weighing"]


@pytest.mark.parametrize("regime", ["replace", "accumulate"])
def test_what_a_rule_weighs_counts_so_much_in_the_training_set(chain, weighing, regime):
    run = chain(*SAMPLED, f"regime={regime}", "selection=random", "selection.rule.name=weighing")
    sources = run.generations()[1].artifacts["model"].parents
    folders = {role: run.store.folder(parent) for role, parent in sources.items()}
    blocks, weights = composed_blocks(compose(run.settings.regime, 1, 0), folders, N)
    expected = [1.0] * (len(blocks) - N) + [2 * N / (N + 1)] + [N / (N + 1)] * (N - 1)
    assert weights.tolist() == pytest.approx(expected)
    assert (blocks[-N:] == read_blocks(folder(run, 0, "candidates"), "blocks")[-N:]).all()


LOWEST = ("selection=top", "selection.scorer.name=lowest", "+selection.scorer.power=2.0")


def test_a_scorer_from_outside_chooses_what_is_trained_on(chain, lowest):
    run = chain(*SAMPLED, *LOWEST)
    candidates = read_blocks(folder(run, 1, "candidates"), "blocks").double().mean(1)
    kept = read_blocks(folder(run, 1, "synthetic"), "blocks").double().mean(1)
    assert kept.max() <= candidates.sort().values[N]
    recipe = run.generations()[1].artifacts["candidate_scores"].recipe
    assert recipe["scorer"].items() >= {"name": "lowest", "version": 1, "settings": {"power": 2.0}}.items()
    assert recipe["scorer"]["digest"]


def test_what_a_scorer_needs_and_there_is_not_is_refused(compose_values, lowest):
    (problem,) = problems(compose_values, *VAE, *LOWEST)
    assert problem.startswith(
        "selection.scorer: 'lowest' needs true_log_likelihood, which model.family=vae does not have; it has"
    )


# ---- images ---------------------------------------------------------------------------------------------------


def test_images_are_selected_by_their_loss_under_the_reference_model(chain):
    run = chain(*VAE, "selection=top", "selection.oversampling=1.5")
    scores = load_file(folder(run, 1, "candidate_scores") / SCORES_FILE)["scores"].numpy()
    candidates, kept = (read_images(folder(run, 1, role), "train").numpy() for role in ("candidates", "synthetic"))
    assert (len(candidates), len(kept)) == (60, 40)
    assert (kept == candidates[np.sort(np.argsort(-scores, kind="stable")[:40])]).all()
    assert run.lines()[1]["selection/kept_share"] == pytest.approx(2 / 3)
    assert run.generations()[1].artifacts["model"].parents["synthetic_0"].kind == "selected"


# ---- refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((*TINY, "selection=top"), "selection.oversampling: 2 candidates a row would be the same block again with"),
        (
            (*TINY, "selection=random", "decoding=greedy"),
            "selection.oversampling: 2 candidates a row would be the same",
        ),
        ((*SAMPLED, "selection=top", "selection.scorer=null"), "selection.scorer: is null, and the rule 'top' chooses"),
        (
            (*SAMPLED, "selection=random", "selection/scorer=surplexity"),
            "selection.scorer: 'surplexity' is of no use to",
        ),
        ((*SAMPLED, "selection/scorer=surplexity"), "selection.scorer: 'surplexity' is of no use without a rule"),
        ((*SAMPLED, "selection.oversampling=2"), "selection.oversampling: 2 is of no use without a rule; it must be 1"),
        ((*SAMPLED, "selection=top", "selection.oversampling=0.5"), "selection.oversampling: 0.5 is not allowed"),
        (
            (*VAE, "selection=top", "model.synthesis=stream"),
            "selection.rule: 'top' is not allowed with model.synthesis=stream, which stores no images; choose"
            " model.synthesis=fixed or selection=none",
        ),
        (
            ("model=gaussian", "data=gaussian_samples", "decoding=none", "experiment=paper_gaussian", "selection=top"),
            "selection.rule: 'top' is not allowed with model.synthesis=statistics, which draws no rows; choose"
            " model.synthesis=samples or selection=none",
        ),
    ],
)
def test_what_goes_together_with_nothing_is_one_message(compose_values, overrides, expected):
    (problem,) = problems(compose_values, *overrides)
    assert problem.startswith(expected)


def test_misspelt_names_are_shown_with_what_there_is(compose_values):
    (problem,) = problems(compose_values, *SAMPLED, "selection=top", "selection.scorer.name=surplexty")
    assert "did you mean surplexity?" in problem


def test_a_top_that_keeps_all_of_what_a_beam_search_wrote_is_allowed(compose_values):
    settings = read_chain_settings(compose_values(*TINY, "selection=top", "selection.oversampling=1"))
    assert settings.selection.is_active
