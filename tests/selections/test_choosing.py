"""Rules and scorers by themselves: what is kept, and what is said where nothing can be."""

from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from modelcollapse.errors import UserError
from modelcollapse.registry import Choice, Member, register, registry
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import Scored, choose, score, selection_metrics, write_scores
from modelcollapse.selections.kept import place_weights, read_kept
from modelcollapse.selections.recipes import Choosing
from modelcollapse.selections.rules import Random, Top

STREAM = Stream(0, 3, "selection.rule")


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_top_keeps_the_highest_scores_and_of_equal_ones_the_first_written(scores, data):
    wanted = data.draw(st.integers(1, len(scores)))
    kept = Top()(len(scores), wanted, scores=torch.tensor(scores, dtype=torch.float64))
    order = np.lexsort((np.arange(len(scores)), -np.array(scores)))
    assert kept.tolist() == sorted(order[:wanted].tolist())


def test_random_keeps_each_row_as_often_as_any_other():
    counts = np.zeros(12)
    for replicate in range(4000):
        kept = Random()(12, 3, stream=Stream(0, 0, "selection.rule", replicate))
        assert len(set(kept.tolist())) == 3
        assert kept.tolist() == sorted(kept.tolist())
        counts[kept.numpy()] += 1
    expected, spread = 1000, np.sqrt(4000 * 0.25 * 0.75)
    assert np.abs(counts - expected).max() < 4.5 * spread


def test_random_is_a_function_of_its_stream_and_nested():
    small, large = (set(Random()(50, wanted, stream=STREAM).tolist()) for wanted in (10, 20))
    assert small < large
    assert large != set(Random()(50, 20, stream=Stream(1, 3, "selection.rule")).tolist())


# ---- the stages -----------------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path):
    """Where a stage is at work, beside a finished artifact of scores."""

    def at_work(scores=None, measures=()):
        folder, of_scores = tmp_path / "made", tmp_path / "scores"
        folder.mkdir(exist_ok=True)
        of_scores.mkdir(exist_ok=True)
        parents = {}
        if scores is not None:
            write_scores(
                SimpleNamespace(folder=of_scores), Scored(torch.tensor(scores, dtype=torch.float64), dict(measures))
            )
            parents["candidate_scores"] = of_scores
        return SimpleNamespace(folder=folder, parents=parents)

    return at_work


@pytest.fixture
def chosen():
    """Register a function as a rule or a scorer for the time of a test, and choose it."""
    kinds = []

    def choose_it(kind, function, **options):
        register(Member(kind, "testing", function, options=options))
        kinds.append(kind)
        return Choice(kind, "testing")

    yield choose_it
    for kind in kinds:
        del registry(kind)._members["testing"]


def by(rule, within="set"):
    return Choosing(rule, STREAM, within, "stop")


def test_what_was_kept_is_published_with_its_scores(context):
    at_work = context([1.0, 5.0, 3.0, 4.0])
    kept = choose(at_work, by(Choice("rules", "top")), 4, 2, None)
    assert kept.rows.tolist() == [1, 3]
    found = read_kept(at_work.folder)
    assert (found.rows.tolist(), found.weights.tolist()) == ([1, 3], [1.0, 1.0])
    assert selection_metrics({"synthetic": at_work.folder}) == {
        "selection/kept_share": 0.5,
        "selection/threshold": 4.0,
        "selection/mean_score_kept": 4.5,
        "selection/mean_score_candidates": 3.25,
    }


def test_a_set_that_was_not_selected_has_no_such_metrics(tmp_path, context):
    assert selection_metrics({"synthetic": tmp_path}) == {}
    assert place_weights(tmp_path) is None
    at_work = context()
    choose(at_work, by(Choice("rules", "random")), 8, 2, None)
    assert selection_metrics({"synthetic": at_work.folder}) == {"selection/kept_share": 0.25}


def test_a_scorer_gets_what_it_needs_and_nothing_else_is_computed(chosen):
    def negative(candidates, *, writer_losses):
        return -writer_losses

    def unasked():
        raise AssertionError("was computed")

    available = {"writer_losses": lambda: torch.tensor([1.0, 2.0]), "reference_losses": unasked}
    by_loss = chosen("scorers", negative, needs=("writer_losses",))
    assert score(by_loss, torch.zeros(2, 5), available).scores.tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            torch.tensor([1.0, float("nan"), float("inf")]),
            "gave 2 of 3 candidates no finite number, row 1 the first of them (nan)",
        ),
        (torch.zeros(3, 2), "must return a number for each of 3 candidates; it returned [3, 2]"),
        (torch.zeros(2), "must return a number for each of 3 candidates; it returned [2]"),
    ],
)
def test_scores_by_which_nothing_can_be_chosen_are_one_message(chosen, returned, message):
    with pytest.raises(UserError) as caught:
        score(chosen("scorers", lambda candidates: returned), torch.zeros(3, 4), {})
    assert message in str(caught.value)
    assert "selection.scorer: 'testing'" in str(caught.value)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.tensor([0]), "must return the numbers of 2 candidates; it returned [1] numbers"),
        (torch.tensor([0.0, 1.0]), "must return the numbers of 2 candidates"),
        (torch.tensor([0, 4]), "returned candidates that there are not; they count from 0 to 3"),
        (torch.tensor([-1, 0]), "returned candidates that there are not"),
        ((torch.tensor([0, 1]), torch.tensor([1.0, 0.0])), "must return a weight above 0 for each row"),
    ],
)
def test_a_rule_that_gives_back_what_was_not_asked_for_is_one_message(context, chosen, returned, message):
    rule = chosen("rules", lambda candidates, wanted: returned, needs=())
    with pytest.raises(UserError) as caught:
        choose(context(), by(rule), 4, 2, None)
    assert message in str(caught.value)


def test_a_rule_may_keep_a_row_twice_and_weigh(context, chosen):
    places, weights = torch.tensor([2, 2, 0]), torch.tensor([1.0, 1.0, 3.0])
    rule = chosen("rules", lambda candidates, wanted: (places, weights), needs=())
    at_work = context()
    choose(at_work, by(rule), 4, 3, None)
    assert read_kept(at_work.folder).rows.tolist() == [2, 2, 0]
    assert read_kept(at_work.folder).weights.tolist() == pytest.approx([0.6, 0.6, 1.8])
    assert place_weights(at_work.folder).tolist() == pytest.approx([0.6, 0.6, 1.8])
    assert selection_metrics({"synthetic": at_work.folder})["selection/kept_share"] == 0.5


def test_within_prompts_a_rule_chooses_among_the_candidates_of_each(context):
    at_work = context([0.0, 9.0, 8.0, 1.0, 3.0, 2.0, 5.0])
    assert choose(at_work, by(Choice("rules", "top")), 7, 3, 3).rows.tolist() == [1, 2, 6]
    within = choose(at_work, by(Choice("rules", "top"), "prompt"), 7, 3, 3)
    assert within.rows.tolist() == [6, 1, 2]
    twice = choose(at_work, by(Choice("rules", "top"), "prompt"), 7, 5, 3)
    assert twice.rows.tolist() == [3, 1, 2, 6, 4]


def test_what_was_measured_of_a_scorer_is_recorded_with_what_was_kept(context):
    at_work = context([1.0, 2.0], {"detector_auc": 0.75})
    choose(at_work, by(Choice("rules", "top")), 2, 1, None)
    assert selection_metrics({"synthetic": at_work.folder})["selection/detector_auc"] == 0.75
