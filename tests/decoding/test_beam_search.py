"""The native beam search writes what transformers writes; float64 decides where two texts are as good as equal."""

import pytest
import torch
from small_networks import EOS, PAD, as_on_gpus, network, network_of, other_networks, settings, trained
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from modelcollapse.decoding.engine import NATIVE_MODEL_TYPES
from modelcollapse.decoding.native import NativeEngine
from modelcollapse.decoding.native.architectures import ARCHITECTURES
from modelcollapse.decoding.native.key_value_slots import Ancestry
from modelcollapse.decoding.transformers_engine import TransformersEngine
from modelcollapse.seeding import Stream

TIE = 1e-5
"""Nats by which two candidates must differ for single precision to be held to their order."""
STREAM = Stream(0, 0, "synthesis")

SHAPES = {
    "one layer": {},
    "two layers": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97},
    "norms after": {"num_hidden_layers": 2, "do_layer_norm_before": False},
    "narrow embeddings": {"word_embed_proj_dim": 8, "num_hidden_layers": 2},
    "350m": {"word_embed_proj_dim": 8, "num_hidden_layers": 2, "do_layer_norm_before": False},
    "no biases": {"enable_bias": False, "layer_norm_elementwise_affine": False, "activation_function": "gelu"},
    "no final norm": {"_remove_final_layer_norm": True},
    "many words": {"vocab_size": 5003},
}
OPTIONS = [{"beams": beams, "repetition_penalty": penalty} for beams in (1, 3, 5, 8) for penalty in (1.0, 2.0, 3.0)] + [
    {"no_repeat_ngram": 1, "new_tokens": 6},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3, "repetition_penalty": 2.0},
    {"beams": 1, "no_repeat_ngram": 2, "repetition_penalty": 2.0},
    {"no_repeat_ngram": 40},
    {"length_penalty": -1.5},
    {"length_penalty": 2.0},
    {"new_tokens": 1},
    {"new_tokens": 2, "beams": 8},
]


def random_prompts(model, count=48, length=7):
    generator = torch.Generator().manual_seed(3)
    prompts = torch.randint(0, model.config.vocab_size, (count, length), generator=generator)
    prompts[: count // 4, 2] = EOS
    prompts[count // 8 : count // 3, 4:6] = PAD
    return prompts


def written_by(engine, model, prompts, **changed):
    options = settings(**{"batch_size": len(prompts), "new_tokens": 16, **changed})
    return engine(model, options, STREAM).continue_prompts(prompts, 0)


def searched_in_float64(model, prompt, **changed):
    """A search without any cache: its text, and the nats between what it took and what it left, where closest."""
    options = settings(**{"new_tokens": 16, **changed})
    rules = LogitsProcessorList([MinNewTokensLengthLogitsProcessor(len(prompt), options.new_tokens, EOS)])
    if options.no_repeat_ngram:
        rules.insert(0, NoRepeatNGramLogitsProcessor(options.no_repeat_ngram))
    rules.insert(0, RepetitionPenaltyLogitsProcessor(options.repetition_penalty))
    texts, sums, narrowest = prompt[None], torch.zeros(1, dtype=torch.float64), float("inf")
    for step in range(options.new_tokens):
        with torch.no_grad():
            logits = model(input_ids=texts, attention_mask=torch.ones_like(texts)).logits[:, -1]
        scores = rules(texts, logits if options.beams == 1 else logits.log_softmax(1))
        totals = (sums[:, None] + scores).flatten()
        values, places = totals.topk(options.beams + 1)
        kept = 1 if step == options.new_tokens - 1 else options.beams
        narrowest = min(narrowest, float(values[kept - 1] - values[kept]))
        sums, places = values[:-1], places[:-1]
        parents, tokens = places // scores.shape[1], places % scores.shape[1]
        texts = torch.cat([texts[parents], tokens[:, None]], 1)
    return texts[0, len(prompt) :].tolist(), narrowest


def assert_same_sequences(model, prompts, **changed):
    ours = written_by(NativeEngine, model, prompts, **changed)
    theirs = written_by(TransformersEngine, model, prompts, **changed)
    different = (ours != theirs).any(1).nonzero()[:, 0].tolist()
    if different:
        model.double()
        gaps = {row: searched_in_float64(model, prompts[row], **changed)[1] for row in different}
        model.float()
        assert max(gaps.values()) < TIE, gaps
    assert len(different) <= len(prompts) // 10


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_sequences_on_random_weights(options):
    model = network(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=97, ffn_dim=48)
    assert_same_sequences(model, random_prompts(model), **options)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("options", [{"beams": 5}, {"beams": 3, "repetition_penalty": 2.0}], ids=str)
def test_same_sequences_for_every_kind_of_opt(shape, options):
    model = network(**shape)
    assert_same_sequences(model, random_prompts(model), **options)


@pytest.mark.parametrize("config", other_networks().values(), ids=other_networks())
@pytest.mark.parametrize("options", [{"beams": 5}, {"beams": 3, "repetition_penalty": 2.0}, {"beams": 1}], ids=str)
def test_same_sequences_of_other_kinds_of_network(config, options):
    model = network_of(config)
    assert_same_sequences(model, random_prompts(model), **options)


@pytest.mark.parametrize("config", other_networks().values(), ids=other_networks())
def test_same_sequences_of_other_kinds_of_network_as_on_gpus(config, monkeypatch):
    as_on_gpus(monkeypatch)
    model = network_of(config)
    assert_same_sequences(model, random_prompts(model), beams=5, repetition_penalty=2.0)


def test_the_names_of_known_models_are_those_of_the_architectures():
    assert set(ARCHITECTURES) == NATIVE_MODEL_TYPES


@pytest.fixture(scope="module")
def fitted():
    return trained(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, ffn_dim=96)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_sequences_on_a_trained_network(fitted, options):
    model, prompts = fitted
    assert_same_sequences(model, prompts, **options)


@pytest.mark.parametrize("options", [{"repetition_penalty": 2.0}, {"no_repeat_ngram": 2}], ids=str)
def test_the_referee_finds_what_transformers_finds(fitted, options):
    model, prompts = fitted
    theirs = written_by(TransformersEngine, model, prompts[:12], **options).tolist()
    model.double()
    found = [searched_in_float64(model, prompt, **options) for prompt in prompts[:12]]
    model.float()
    assert all(text == expected for (text, gap), expected in zip(found, theirs, strict=True) if gap > TIE)
    assert sum(gap > TIE for _, gap in found) >= 10


@pytest.mark.parametrize("options", [each for each in OPTIONS if each.get("beams") not in (3, 8)], ids=str)
def test_same_sequences_as_on_gpus(fitted, options, monkeypatch):
    as_on_gpus(monkeypatch)
    model, prompts = fitted
    assert_same_sequences(model, prompts, **options)


SAMPLING = [{}, {"top_k": 7}, {"top_p": 0.8}, {"top_k": 20, "top_p": 0.9, "repetition_penalty": 1.3}]


@pytest.mark.parametrize(
    "options", [{"beams": 5, "repetition_penalty": 2.0}, *({"kind": "sample", **each} for each in SAMPLING)], ids=str
)
def test_the_same_is_written_as_on_gpus(fitted, options, monkeypatch):
    model, prompts = fitted
    compiled = written_by(NativeEngine, model, prompts, **options)
    as_on_gpus(monkeypatch)
    assert (compiled == written_by(NativeEngine, model, prompts, **options)).all(1).float().mean() > 0.95


def test_recycled_slots_are_those_that_no_beam_needs():
    generator = torch.Generator().manual_seed(0)
    beams, length, steps = 4, 3, 40
    ancestry = Ancestry(5, beams, length, length + beams * steps, True, torch.device("cpu"))
    owners = [[{("prompt", place): place for place in range(length)} for _ in range(beams)] for _ in range(5)]
    ancestry.begin()
    for step in range(1, steps + 1):
        placement = ancestry.place(step)
        for prompt in range(5):
            taken = {slot for beam in owners[prompt] for slot in beam.values()}
            new = placement.slots[prompt].tolist()
            assert not taken & set(new)
            assert len(set(new)) == beams
            for beam in range(beams):
                owners[prompt][beam] = {**owners[prompt][beam], (step, beam): new[beam]}
                looked_at = placement.visible[prompt, beam].nonzero()[:, 0].tolist()
                assert looked_at == sorted(owners[prompt][beam].values())
        parents = torch.randint(0, beams, (5, beams), generator=generator)
        owners = [[owners[prompt][parent] for parent in parents[prompt].tolist()] for prompt in range(5)]
        ancestry.follow(parents)
    assert placement.visible.shape[2] < length + beams * steps / 2
