"""The parts of the native engine: chance, memory, weights laid out anew, the vocabulary in chunks."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from small_networks import EOS, network, settings, trained
from torch.nn import functional
from transformers import (
    EpsilonLogitsWarper,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from modelcollapse.decoding.native import NativeEngine, kernels, linear, vocabulary
from modelcollapse.decoding.native.forward import CompiledAttention, TorchAttention
from modelcollapse.decoding.native.history import History, Restrictions
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots, Placement
from modelcollapse.decoding.native.linear import FUSED_ACTIVATIONS, Linear, packing_works
from modelcollapse.decoding.native.sampling import Cut, Sampler, least_kept
from modelcollapse.decoding.native.search import CompiledSearch, TorchSearch
from modelcollapse.decoding.native.vocabulary import Vocabulary
from modelcollapse.seeding import Stream

STREAM = Stream(0, 0, "synthesis")


def written(model, prompts, group=0, **changed):
    return NativeEngine(model, settings(**{"batch_size": len(prompts), **changed}), STREAM).continue_prompts(
        prompts, group
    )


@pytest.fixture(scope="module")
def fitted():
    return trained(steps=10, hidden_size=32, num_attention_heads=2)


# ---- sampling -------------------------------------------------------------------------------------------------------

CUTS = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.5, "top_k": 6},
    {"top_p": 0.7},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.8},
    {"min_p": 0.3},
    {"typical_p": 0.6},
    {"epsilon": 0.06},
    {"temperature": 1.4, "top_k": 12, "top_p": 0.95, "min_p": 0.05, "typical_p": 0.8, "epsilon": 0.05},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 2.5, "top_p": 0.9, "temperature": 1.2},
]


def processed_probabilities(model, texts, length, cuts):
    """Probabilities of the next token under transformers' own processors, in its order, float64."""
    rules = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(float(cuts.get("repetition_penalty", 1.0))),
            MinNewTokensLengthLogitsProcessor(length, 9, EOS),
            TemperatureLogitsWarper(float(cuts.get("temperature", 1.0))),
        ]
    )
    if "top_k" in cuts:
        rules.append(TopKLogitsWarper(cuts["top_k"]))
    if "top_p" in cuts:
        rules.append(TopPLogitsWarper(cuts["top_p"]))
    if "min_p" in cuts:
        rules.append(MinPLogitsWarper(cuts["min_p"]))
    if "typical_p" in cuts:
        rules.append(TypicalLogitsWarper(cuts["typical_p"]))
    if "epsilon" in cuts:
        rules.append(EpsilonLogitsWarper(cuts["epsilon"]))
    with torch.no_grad():
        logits = model(input_ids=texts, attention_mask=torch.ones_like(texts)).logits[:, -1]
    return rules(texts, logits).double().softmax(1)


@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_pairs_of_tokens_are_sampled_as_often_as_transformers_would(cuts):
    """Joint frequencies of the first two new tokens against the exact ones, by a chi-squared test."""
    model, draws = network(vocab_size=17, init_std=0.6), 20000
    prompt = torch.tensor([[5, 9, 5, EOS, 7]])
    first = processed_probabilities(model, prompt, 5, cuts)[0]
    texts = torch.cat([prompt.repeat(17, 1), torch.arange(17)[:, None]], 1)
    joint = draws * first[:, None] * processed_probabilities(model, texts, 5, cuts)
    tokens = written(model, prompt.repeat(draws, 1), kind="sample", new_tokens=2, **cuts)
    counts = torch.bincount(tokens[:, 0] * 17 + tokens[:, 1], minlength=17 * 17).double()
    joint = joint.flatten()
    assert (counts[joint == 0] == 0).all()
    frequent = joint > 5
    observed, expected = counts[frequent], joint[frequent]
    rest = joint[~frequent].sum()
    if rest > 5:
        observed, expected = torch.cat([observed, counts[~frequent].sum()[None]]), torch.cat([expected, rest[None]])
    expected = expected * observed.sum() / expected.sum()
    assert chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.999])
def test_the_most_probable_tokens_are_found_without_sorting_the_vocabulary(spread, top_p):
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(20, 3000, generator=generator)
    kept = logits.softmax(1) >= least_kept(logits.softmax(1), top_p)
    expected = TopPLogitsWarper(top_p)(None, logits).isfinite()
    assert (kept != expected).sum(1).max() <= 1


def test_chance_reaches_every_token_and_no_other():
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]]).expand(3, -1)
    chance = torch.tensor([0.0, 0.2, 1 - 2**-53], dtype=torch.float64)
    assert Sampler(1.0, Cut())(logits, chance).tolist() == [0, 0, 2]


def test_a_text_does_not_depend_on_the_others_of_its_group_or_on_the_memory(fitted):
    model, prompts = fitted
    whole = written(model, prompts, kind="sample")
    parts = written(model, prompts, kind="sample", memory_gb=1e-4)
    assert (whole == parts).all(1).float().mean() > 0.98
    assert written(model, prompts[:40], kind="sample").shape == (40, 9)


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_what_is_continued_at_once_follows_from_the_settings_and_fits():
    model = network()
    sizes = {}
    for memory in (1e-9, 1e-4, 2e-4, 1.0):
        engine = NativeEngine(model, settings(batch_size=40, memory_gb=memory), STREAM)
        sizes[memory] = engine.prompts_at_once(7)
    assert sizes[1e-9] == 1
    assert sizes[1.0] == 40
    assert 1 < sizes[1e-4] < sizes[2e-4] < 40
    longer = NativeEngine(model, settings(batch_size=40, memory_gb=2e-4), STREAM).prompts_at_once(70)
    assert longer < sizes[2e-4]


def test_a_group_is_the_same_whatever_was_written_before(fitted):
    """Slots are used again: what an earlier group left in them, garbage included, is never looked at."""
    model, prompts = fitted
    engine = NativeEngine(model, settings(batch_size=32), STREAM)
    fresh = NativeEngine(model, settings(batch_size=32), STREAM).continue_prompts(prompts[32:], 1)
    engine.continue_prompts(prompts[:32], 0)
    with torch.inference_mode():
        engine._whole.slots.keys[:, :, :, prompts.shape[1] :] = 1e9
    assert engine.continue_prompts(prompts[32:], 1).tolist() == fresh.tolist()
    short = engine.continue_prompts(prompts[:5, -7:], 2)
    assert short.tolist() == written(model, prompts[:5, -7:], 2, batch_size=32).tolist()


# ---- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("activation", [*FUSED_ACTIVATIONS, "tanh"])
def test_a_layer_multiplies_adds_and_activates(packed, activation, monkeypatch):
    if packed and not packing_works(torch.float32):
        pytest.skip("oneDNN's operators are not here")
    monkeypatch.setattr(linear, "packing_works", lambda dtype: packed)
    inputs, weight, bias, residual = torch.randn(6, 24), torch.randn(40, 24), torch.randn(40), torch.randn(6, 40)
    layer, plain = Linear(weight, bias, rows=6), functional.linear(inputs, weight, bias)
    assert torch.allclose(layer(inputs), plain, atol=1e-4)
    assert torch.allclose(layer.added_to(residual, inputs), residual + plain, atol=1e-4)
    assert torch.allclose(layer.activated(inputs, activation), linear.ACT2FN[activation](plain), atol=1e-4)


def test_without_onednns_operators_the_same_is_written(fitted, monkeypatch):
    model, prompts = fitted
    packed = written(model, prompts)
    monkeypatch.setattr(linear, "packing_works", lambda dtype: False)
    assert (written(model, prompts) == packed).all(1).float().mean() > 0.95


# ---- vocabulary -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [31, 32, 33, 1000, 4097])
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 6 * 300, 2**30])
@pytest.mark.parametrize("search", [CompiledSearch, TorchSearch])
def test_the_best_tokens_are_the_same_in_chunks(tokens, chunk_bytes, search, monkeypatch):
    """Against the whole vocabulary at once, with a penalty and tokens that occur twice."""
    monkeypatch.setattr(vocabulary, "CPU_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(vocabulary, "new_search", search)
    generator = torch.Generator().manual_seed(1)
    weight, outputs = torch.randn(tokens, 8, generator=generator), torch.randn(6, 8, generator=generator)
    restrictions = Restrictions(2.0, 2, (EOS,))
    prompts = torch.randint(0, 31, (6, 12), generator=generator)
    prompts[0, :4] = torch.tensor([EOS, 4, 4, EOS])
    expected = functional.linear(outputs, weight).log_softmax(1)
    restrictions.apply(expected, prompts)
    history = History(6, 1, 12, 1, restrictions, prompts.device)
    history.begin(prompts)
    values, found = Vocabulary(weight, 6, restrictions).best(outputs, 5, history.past(12, 1))
    assert torch.allclose(values, expected.topk(5, 1).values, atol=1e-5)
    assert torch.allclose(expected.gather(1, found), values, atol=1e-5)
    assert torch.allclose(
        Vocabulary(weight, 6, restrictions).logits(outputs), functional.linear(outputs, weight), atol=1e-5
    )


# ---- compiled loops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shared", [4, 2, 1])
def test_compiled_attention_is_torchs(dtype, shared):
    """With slots that nobody sees and that hold infinities, and heads that share keys and values."""
    generator = torch.Generator().manual_seed(0)
    prompts, beams, heads, size, slots = 3, 5, 4, 24, 40

    def numbers(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    visible = torch.rand(prompts, beams, 37, generator=generator) < 0.5
    places = torch.stack([torch.randperm(37, generator=generator)[:beams] for _ in range(prompts)])
    visible[:, :, 5] = False
    places[places == 5] = 6
    visible.scatter_(2, places[:, :, None], True)
    queries, new_keys, new_values = numbers(prompts, beams, heads, size), *numbers(2, prompts, beams, shared, size)
    keys, values = numbers(2, 2, prompts, shared, slots, size)
    keys[:, :, :, 5] = 1e30
    both = []
    for attention in (TorchAttention, CompiledAttention):
        own = KeyValueSlots(keys.clone(), values.clone())
        both.append(attention(own, Placement(places, visible))(1, queries, new_keys, new_values))
        assert torch.equal(own.keys[1, 0, :, places[0, 0]], new_keys[0, 0])
        assert torch.equal(own.keys[0], keys[0])
    assert torch.allclose(both[0].float(), both[1].float(), atol=2e-2 if dtype == torch.bfloat16 else 1e-5)


def test_the_compiled_exponential_is_one():
    exponents = torch.linspace(-87, 0, 20001)
    found = torch.tensor([kernels.exponential(exponent) for exponent in exponents.numpy()], dtype=torch.float64)
    assert (found / exponents.double().exp() - 1).abs().max() < 2e-7
    assert kernels.exponential(np.float32(-np.inf)) < 1e-37
