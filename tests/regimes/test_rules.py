"""Regimes by rule: what a registered class may compose, and what is said of what it may not."""

from dataclasses import dataclass
from fractions import Fraction

import pytest

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.regimes import REAL, Draw, Source, compose, synthetic_rows
from modelcollapse.regimes.rules import composition_problems
from modelcollapse.registry import Member, register
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError

GAUSSIAN = ("model=gaussian", "data=gaussian_samples", "decoding=none")


@dataclass(frozen=True)
class Every:
    """Real data in every ``k``-th generation."""

    k: int = 2

    def compose(self, generation):
        return [Draw.real(1.0)] if generation % self.k == 0 else [Draw.latest(1.0)]

    def problems(self):
        return [] if self.k > 0 else [f"regime.k: {self.k} must be at least 1"]


def register_rule(name, draws, rows=lambda generation: 1.0, fresh_share=0.0):
    """A rule out of functions of the generation."""
    content = {
        "compose": lambda self, generation: draws(generation),
        "rows": lambda self, generation: rows(generation),
        "fresh_share": fresh_share,
    }
    register(Member("regimes", name, type("Rule", (), content)))


register(Member("regimes", "test_every", Every, settings=Every))


@pytest.fixture
def read(compose_values):
    """The settings of a Gaussian chain whose regime has these values."""

    def reading(regime, *overrides, generations=6):
        values = compose_values(*GAUSSIAN, *overrides, f"generations={generations}")
        return read_chain_settings({**values, "regime": regime})

    return reading


@pytest.fixture
def problems(read):
    """What is wrong with a rule, a message a problem."""

    def found(name, draws, *overrides, generations=6, **more):
        register_rule(name, draws, **more)
        with pytest.raises(SettingsError) as caught:
            read({"rule": name}, *overrides, generations=generations)
        return caught.value.problems

    return found


def test_a_rule_has_settings_a_name_and_composes_as_it_says(read):
    regime = read({"rule": "test_every", "k": 3}).regime
    assert regime.name == "test_every"
    assert [compose(regime, t, seed=5) for t in range(4)] == [
        (Draw((REAL,)),),
        (Draw((Source("synthetic", 0),)),),
        (Draw((Source("synthetic", 1),)),),
        (Draw((REAL,)),),
    ]
    assert read({"rule": "test_every", "name": "each third", "k": 3}).regime.name == "each third"


def test_what_means_the_same_training_set_is_the_composition_of_settings(read, compose_values):
    register_rule("test_replace", lambda t: [Draw.latest()])
    replace = read_chain_settings(compose_values(*GAUSSIAN, "regime=replace")).regime
    rule = read({"rule": "test_replace"}).regime
    assert all(compose(rule, t, seed=1) == compose(replace, t, seed=1) for t in range(5))


def test_random_draws_have_streams_of_the_seed_the_generation_and_the_sets(read):
    register_rule("test_mix", lambda t: [Draw.real(0.25), Draw.real(0.5, kept=True)][t % 2 : t % 2 + 1])
    regime = read({"rule": "test_mix"}, "model.synthesis=samples").regime
    (redrawn,), (kept,) = compose(regime, 2, seed=7), compose(regime, 3, seed=7)
    assert redrawn == Draw((REAL,), 0.25, Stream(7, 2, "draw.rule.real"))
    assert kept == Draw((REAL,), 0.5, Stream(7, 0, "draw.rule.real"))


def test_sets_are_counted_back_from_the_generation_and_pools_name_their_ends(read):
    register_rule("test_pool", lambda t: [Draw.pool(range(t), 0.5)] if t > 2 else [Draw.synthetic([-1])])
    regime = read({"rule": "test_pool"}, "model.synthesis=samples").regime
    assert compose(regime, 2, seed=0) == (Draw((Source("synthetic", 1),)),)
    (drawn,) = compose(regime, 4, seed=0)
    assert drawn.stream.stage == "draw.rule.real.synthetic_0_to_3"
    assert len(drawn.sources) == 5


def test_a_rule_says_how_many_rows_are_written_and_how_many_fresh_ones_there_are(read):
    register_rule("test_more", lambda t: [Draw.latest(2.0), Draw.fresh(0.5)], rows=lambda t: 2.0, fresh_share=0.5)
    regime = read({"rule": "test_more"}).regime
    assert synthetic_rows(regime, 3) == 2.0
    assert regime.fresh == Fraction(1, 2)
    assert compose(regime, 1, seed=0) == (Draw((Source("fresh", 1),), 0.5), Draw((Source("synthetic", 0),)))


@pytest.mark.parametrize(
    ("draws", "said"),
    [
        (lambda t: [Draw.synthetic([5])], "composes generation 1 of what generation 5 wrote; there are generations"),
        (lambda t: [Draw.synthetic([-2])], "composes generation 1 of what generation -1 wrote"),
        (lambda t: [Draw.latest(-0.5)], "a share of -0.5 of synthetic_0; it must be a number of 0 or more"),
        (lambda t: [Draw.latest(float("nan"))], "a share of nan"),
        (lambda t: [], "composes generation 1 of nothing"),
        (lambda t: [Draw.real(0.0)], "composes generation 1 of nothing"),
        (lambda t: [Draw.latest(1.5)], "a share of 1.5 is to be drawn without replacement from [synthetic_0]"),
        (lambda t: [Draw.real(0.2), Draw.real(0.3)], "several draws from the same set"),
        (lambda t: [Draw.real(0.2, weight=0.5), Draw.latest(0.5)], "draws with a weight and draws without"),
        (lambda t: [Draw.real(0.2, weight=0.5), Draw.latest(0.5, weight=0.6)], "these must be above 0, and 1 together"),
        (lambda t: [Draw.fresh(0.5)], "0.5 fresh rows; it must be the rule's fresh_share, which is 0"),
        (lambda t: "real", "it must be a list of Draw.real(...)"),
        (lambda t: [Draw.latest() if t < 4 else Draw.synthetic([4])], "composes generation 4 of what generation 4"),
    ],
    ids=lambda value: value.replace(" ", "-")[:40] if isinstance(value, str) else "",
)
def test_what_there_is_not_is_one_message_before_any_work(problems, draws, said):
    (problem,) = problems("test_wrong", draws)
    assert said in problem
    assert problem.startswith("regime=test_wrong") or "drawn without replacement" in problem


def test_the_first_generation_whose_training_set_there_is_not_is_the_problem(read):
    register_rule("test_ahead", lambda t: [Draw.latest() if t < 3 else Draw.synthetic([t])])
    regime = read({"rule": "test_ahead"}, generations=2).regime
    assert composition_problems(regime, 2) == []
    (problem,) = composition_problems(regime, 5)
    assert "generation 3" in problem


def test_a_rule_that_writes_nothing_is_refused(problems):
    (problem,) = problems("test_silent", lambda t: [Draw.latest()], rows=lambda t: 0)
    assert "rows(0) of regime=test_silent is 0; it must be a number above 0" in problem


def test_problems_of_a_rules_settings_and_of_others_come_together(read):
    with pytest.raises(SettingsError) as caught:
        read({"rule": "test_every", "k": 0}, "trainer.accelerator=gpu")
    assert "regime.k: 0 must be at least 1" in caught.value.problems
    assert any("trainer.accelerator" in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("regime", "said"),
    [
        ({"rule": "test_evry"}, "regime.rule: 'test_evry' is no regime (did you mean test_every?)"),
        ({"rule": "test_every", "q": 3}, "regime.q: no such setting; there are: k"),
        ({"rule": "test_every", "k": "x"}, "regime.k: 'x' is not allowed; it must be a whole number"),
    ],
)
def test_wrong_settings_of_a_rule_are_named(read, regime, said):
    with pytest.raises(SettingsError) as caught:
        read(regime)
    assert any(problem.startswith(said) for problem in caught.value.problems)


def test_a_family_that_needs_whole_sets_looks_at_every_generation_of_a_rule(problems):
    found = problems("test_late", lambda t: [Draw.latest(0.5 if t == 5 else 1.0)], "model.synthesis=statistics")
    assert any("knows whole sets only, and regime=test_late draws rows" in problem for problem in found)


def test_an_error_inside_a_rule_says_which_generation(read):
    register_rule("test_broken", lambda t: [Draw.latest()] if t < 3 else [][0])
    with pytest.raises(IndexError) as caught:
        read({"rule": "test_broken"})
    assert caught.value.__notes__ == ["in compose(3) of regime=test_broken"]
