"""Selections from the training sets of estimator families, and from those that ``regime=general`` uses again."""

from dataclasses import dataclass

import pytest
import torch
from test_selected_segments import FAMILIES, GAUSSIAN, SMALL, problems, state

from modelcollapse.registry import Member, register, registry

TRAINING_SET = ("selection.scope=training_set", "selection.oversampling=1")
HALF = (*TRAINING_SET, "selection.size=0.5", "selection=top", "selection.scorer.name=origin")
MIXED = ("regime=general", "regime.alpha=0.5", "regime.beta=0.5", "regime.gamma=0")


@dataclass(frozen=True)
class Origin:
    """Likes real rows, or synthetic ones."""

    likes_synthetic: bool = False

    def __call__(self, candidates, *, is_synthetic):
        return (is_synthetic == self.likes_synthetic).double()


def by_origin():
    register(Member("scorers", "origin", Origin, settings=Origin, options={"needs": ("is_synthetic",)}, origin="test"))


@pytest.fixture(autouse=True)
def told_origin():
    by_origin()
    yield
    del registry("scorers")._members["origin"]


def same(one, other):
    return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-9) for name in one)


@pytest.mark.parametrize("family", ["gaussian", "discrete", "linear_regression", "logistic_regression"])
def test_a_training_set_of_its_real_rows_alone_gives_the_first_model_again(chain, family):
    run = chain(*FAMILIES[family], *HALF, "regime=accumulate", "generations=1")
    assert not same(state(run, 0), {name: torch.zeros_like(each) for name, each in state(run, 0).items()})
    assert same(state(run, 0), state(run, 1))
    first, second = run.lines()
    assert not any(name.startswith("selection/") for name in first)
    assert second["selection/kept_share/mean"] == 0.5
    assert second["selection/mean_score_kept/mean"] == 1
    assert second["selection/mean_score_candidates/mean"] == 0.5


@pytest.mark.parametrize("family", ["gaussian_mixture", "kernel_density"])
def test_the_other_families_select_from_training_sets_too(chain, family):
    words = ("selection=tournament", *TRAINING_SET, "selection.size=0.5", "regime=accumulate", "generations=1")
    line = chain(*FAMILIES[family], *words).lines()[1]
    assert 0.2 < line["selection/kept_share/mean"] <= 0.5
    assert line["selection/mean_score_kept/mean"] > line["selection/mean_score_candidates/mean"]


def test_tournaments_among_real_rows_change_their_law_as_they_do_among_written_ones(chain):
    """Ferbach et al.: p'(x) = 2 p(x) E_y[sigmoid(r(x) - r(y))], here of independent rows of three states, in any order
    but that of the states, in which rows of this family come.
    """
    words = (*SMALL, "model=discrete", "data=categorical_samples", "model.synthesis=samples")
    words = (*words, "data.states=3", "regime=real", "generations=1", "model.replicates=4000")
    run = chain(*words, "selection=tournament", *TRAINING_SET, "selection.size=0.5")
    law = run.family.build_estimator().true["probabilities"]
    wins = torch.sigmoid(law.log()[:, None] - law.log())
    expected = 2 * law * (wins * law).sum(1)
    found = state(run, 1)["probabilities"]
    error = found.std(dim=0) / len(found) ** 0.5
    assert ((found.mean(0) - expected).abs() < 4 * error).all()
    assert ((found.mean(0) - law).abs() > 4 * error).any()


# ---- training sets that are used again ------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gaussian", "discrete"])
def test_what_is_used_again_is_what_was_kept(chain, family):
    """Half of D_t are rows of D_{t-1}. Of D_1 the real half is kept, so the half of D_2 that is used again is real too,
    and is what is kept of it: every generation is fitted to the same rows.
    """
    run = chain(*FAMILIES[family], *HALF, *MIXED, "model.segment_length=2")
    states = [state(run, generation) for generation in range(4)]
    assert not same(states[0], states[1])
    assert same(states[1], states[2])
    assert same(states[1], states[3])
    assert run.lines()[3]["selection/mean_score_candidates/mean"] == 0.5


def test_a_training_set_that_is_used_again_stands_on_all_models_that_chose_it(chain):
    generations = chain(*GAUSSIAN, *HALF, *MIXED, "model.segment_length=1", execute=False).generations()
    parents = set(generations[3].artifacts["model"].parents.values())
    assert parents == {each.artifacts["model"] for each in generations[:3]}


# ---- keys and refusals ----------------------------------------------------------------------------------------


def test_a_random_choice_of_whole_training_sets_has_the_keys_of_no_selection(chain):
    words = (*GAUSSIAN, "regime=accumulate")
    plain, random = (
        [each.artifacts for each in chain(*words, *more, execute=False).generations()]
        for more in ((), ("selection=random", *TRAINING_SET))
    )
    assert plain == random


def test_selections_of_both_scopes_and_of_all_sizes_are_apart_after_generation_0(chain):
    words = ("selection=top", "selection/scorer=confidence", "selection.oversampling=1")
    half = (*words, *TRAINING_SET, "selection.size=0.5")
    found = [
        [each.artifacts["model"].key for each in chain(*GAUSSIAN, *more, execute=False).generations()]
        for more in ((), words, half, (*half, "selection.size=0.6"))
    ]
    assert len({each[0] for each in found}) == 1
    assert len({each[1] for each in found}) == len(found)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            (*FAMILIES["kernel_density"], "selection=top", "selection/scorer=confidence", *TRAINING_SET),
            "selection.scorer: 'confidence' needs writer_losses, which model.family=kernel_density with",
        ),
        (
            (*GAUSSIAN, "selection=top", *TRAINING_SET, "model.synthesis=statistics"),
            "selection.rule: 'top' is not allowed with model.synthesis=statistics, which draws no rows; choose",
        ),
        ((*GAUSSIAN, *HALF, *MIXED, "regime.alpha=0", "regime.beta=1"), "regime.beta: 1 trains on H again and again"),
        (
            (*GAUSSIAN, *HALF, *MIXED, "regime.alpha=0.2", "regime.beta=0.8"),
            "selection.size: 0.5 keeps fewer rows of a training set than regime.beta=0.8 draws of it; it must be at",
        ),
    ],
)
def test_what_cannot_be_selected_is_one_message(compose_values, words, expected):
    (problem,) = problems(compose_values, *words)
    assert problem.startswith(expected)
