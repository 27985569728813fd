"""Keys of many generations that are one artifact: the composition of every one of them counts."""

from dataclasses import dataclass, replace

import pytest

from modelcollapse.chain import chain_generations
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.families import family_for
from modelcollapse.regimes import Draw
from modelcollapse.registry import Member, register
from modelcollapse.training.trainer import Execution

GAUSSIAN = ("model=gaussian", "data=gaussian_samples", "decoding=none", "model.synthesis=samples", "generations=6")


@dataclass(frozen=True)
class RealAt:
    """Real data in one generation, what the last model wrote in all others."""

    when: int = 3

    def compose(self, generation):
        return [Draw.real(1.0)] if generation == self.when else [Draw.latest(1.0)]


@dataclass(frozen=True)
class BackTo:
    """One generation trains on what a much earlier model wrote."""

    when: int = 5
    writer: int = 0

    def compose(self, generation):
        return [Draw.synthetic([self.writer], 1.0)] if generation == self.when else [Draw.latest(1.0)]


register(
    Member("regimes", "test_real_at", RealAt, settings=RealAt), Member("regimes", "test_back", BackTo, settings=BackTo)
)


@pytest.fixture
def models(compose_values):
    """The artifacts of a chain's models, in order, each once."""

    def declared(regime, **model):
        values = compose_values(*GAUSSIAN)
        settings = read_chain_settings({**values, "regime": regime})
        settings = replace(settings, model=replace(settings.model, **model))
        family = family_for(settings, Execution(settings.trainer, None, lambda generation, line: None))
        return list(dict.fromkeys(one.artifacts["model"] for one in chain_generations(settings, family)))

    return declared


def test_rules_that_agree_at_the_ends_and_differ_inside_have_different_keys(models):
    first, second = (models({"rule": "test_real_at", "when": when}) for when in (3, 4))
    assert len(first) == len(second) == 2
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_a_rule_that_means_a_regime_of_settings_has_its_keys(models, compose_values):
    replaced = compose_values(*GAUSSIAN, "regime=replace")["regime"]
    # In no generation of the chain.
    assert models({"rule": "test_real_at", "when": 100}) == models(replaced)


def test_parents_are_all_that_any_generation_draws_from(models):
    _, _, last = models({"rule": "test_back", "when": 6, "writer": 0}, segment_length=3)
    assert sorted(last.parents) == ["generations_0_to_0", "generations_1_to_3"]
    _, _, near = models({"rule": "test_back", "when": 6, "writer": 2}, segment_length=3)
    assert sorted(near.parents) == ["generations_1_to_3"]
