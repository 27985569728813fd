"""What every engine does: exact lengths, settings that arrive, sampling that can be repeated."""

from itertools import pairwise

import pytest
import small_networks
import torch
from small_networks import EOS, NEW, PAD, settings
from transformers import BloomConfig, BloomForCausalLM

from modelcollapse.data.language import HiddenMarkovLanguage
from modelcollapse.data.settings import LanguageSettings
from modelcollapse.data.tokenizers import words_tokenizer
from modelcollapse.decoding import engine_for
from modelcollapse.decoding.engine import decoding_recipe
from modelcollapse.errors import UserError
from modelcollapse.families.language_model.network import new_network
from modelcollapse.families.language_model.settings import ArchitectureSettings
from modelcollapse.seeding import Stream

VOCABULARY = 30


def network(eos_bias=0.0):
    """A tiny network; ``eos_bias`` makes the end-of-text token as likely as wanted."""
    model = small_networks.network(vocab_size=VOCABULARY)
    if eos_bias:
        with torch.no_grad():
            model.model.decoder.final_layer_norm.bias += eos_bias * model.lm_head.weight[EOS]
    return model


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(7)
    return torch.randint(3, VOCABULARY, (6, 5), generator=generator)


@pytest.fixture(params=["native", "transformers"])
def engine_name(request):
    return request.param


@pytest.fixture
def written(engine_name):
    """What an engine writes after prompts."""

    def write(prompts, model=None, group=0, stream=None, **changed):
        options = settings(engine=engine_name, **changed)
        return engine_for(model or network(), options, stream or Stream(0, 0, "synthesis")).continue_prompts(
            prompts, group
        )

    return write


KINDS = [
    {},
    {"beams": 1},
    {"length_penalty": -2.0},
    {"length_penalty": 3.0},
    {"repetition_penalty": 3.0},
    {"no_repeat_ngram": 2},
    {"kind": "sample", "beams": 1},
    {"kind": "sample", "beams": 1, "temperature": 3.0, "top_k": 5, "top_p": 0.9},
    {"kind": "sample", "beams": 1, "min_p": 0.2, "typical_p": 0.9, "epsilon": 0.02},
    {"new_tokens": 1},
]


@pytest.mark.parametrize("changed", KINDS, ids=str)
@pytest.mark.parametrize("eos_bias", [0.0, 30.0])
def test_exactly_the_wanted_number_of_tokens_is_written_and_never_an_end_of_text(written, prompts, changed, eos_bias):
    tokens = written(prompts, network(eos_bias), **changed)
    assert tokens.shape == (6, changed.get("new_tokens", NEW))
    assert not (tokens == EOS).any()


def test_the_bias_of_these_tests_would_write_an_end_of_text():
    model = network(30.0)
    with torch.no_grad():
        free = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=NEW, do_sample=False)
    assert EOS in free[0]


@pytest.mark.parametrize("changed", [{}, {"repetition_penalty": 2.0}, {"no_repeat_ngram": 2}, {"length_penalty": 3.0}])
def test_beam_search_is_generates_own(written, prompts, changed):
    model = network()
    options = {
        "num_beams": 3,
        "do_sample": False,
        "min_new_tokens": NEW,
        "max_new_tokens": NEW,
        "length_penalty": changed.get("length_penalty", 1.0),
        "repetition_penalty": changed.get("repetition_penalty", 1.0),
        "no_repeat_ngram_size": changed.get("no_repeat_ngram", 0),
    }
    with torch.no_grad():
        expected = model.generate(prompts, attention_mask=torch.ones_like(prompts), **options)
    assert written(prompts, model, **changed).tolist() == expected[:, prompts.shape[1] :].tolist()


def test_greedy_is_the_most_probable_token_each_time(written, prompts):
    model = network()
    tokens, expected = prompts, []
    with torch.no_grad():
        for _ in range(NEW):
            logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[:, -1]
            logits[:, EOS] = -torch.inf
            expected.append(logits.argmax(-1))
            tokens = torch.cat([tokens, expected[-1][:, None]], 1)
    assert written(prompts, model, beams=1).tolist() == torch.stack(expected, 1).tolist()


def test_a_penalty_and_forbidden_repeats_change_what_is_written(written, prompts):
    plain = written(prompts, beams=1)
    assert plain.tolist() != written(prompts, beams=1, repetition_penalty=3.0).tolist()
    bigrams = [list(pairwise(row)) for row in written(prompts, no_repeat_ngram=2).tolist()]
    assert all(len(set(row)) == len(row) for row in bigrams)
    assert any(len(set(pairs)) < len(pairs) for pairs in (list(pairwise(row)) for row in plain.tolist()))


def test_the_repetition_penalty_covers_the_prompt(written, prompts):
    """As in transformers: with an overwhelming penalty on non-negative logits nothing of the prompt comes again."""
    model = network()
    for row, new in zip(prompts.tolist(), written(prompts, model, beams=1, repetition_penalty=100.0), strict=True):
        assert new[0].item() not in row


def test_a_pad_token_in_the_prompt_is_a_token_like_any_other(written, prompts):
    model = network()
    prompts[:, 1] = PAD
    with torch.no_grad():
        logits = model(input_ids=prompts, attention_mask=torch.ones_like(prompts)).logits[:, -1]
    logits[:, EOS] = -torch.inf
    assert written(prompts, model, beams=1)[:, 0].tolist() == logits.argmax(-1).tolist()


# ---- sampling -------------------------------------------------------------------------------------------------------


def test_sampling_follows_from_stream_and_group_whatever_was_done_before(written, engine_name, prompts):
    model, stream = network(), Stream(3, 1, "synthesis")
    sample = {"kind": "sample", "beams": 1}
    engine = engine_for(model, settings(engine=engine_name, **sample), stream)
    in_order = {group: engine.continue_prompts(prompts, group).tolist() for group in (0, 1, 2)}
    torch.manual_seed(8)
    torch.rand(100)
    backwards = {group: engine.continue_prompts(prompts, group).tolist() for group in (2, 1, 0)}
    assert in_order == backwards
    assert written(prompts, model, 1, stream, **sample).tolist() == in_order[1]
    assert len({str(tokens) for tokens in in_order.values()}) == 3
    assert written(prompts, model, 1, Stream(4, 1, "synthesis"), **sample).tolist() != in_order[1]


def test_sampling_leaves_the_global_generators_alone(written, prompts):
    torch.manual_seed(8)
    expected = torch.rand(1)
    torch.manual_seed(8)
    written(prompts, kind="sample", beams=1)
    assert torch.rand(1) == expected


def test_samples_have_the_models_own_frequencies(written):
    """The first new token of 4000 equal prompts against the softmax, by a chi-squared test."""
    from scipy.stats import chisquare

    model = network()
    prompt = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        logits = model(input_ids=prompt, attention_mask=torch.ones_like(prompt)).logits[0, -1].double()
    logits[EOS] = -torch.inf
    expected = 4000 * logits.softmax(0)
    tokens = written(prompt.repeat(4000, 1), model, kind="sample", beams=1, new_tokens=1, batch_size=4000)
    counts = torch.bincount(tokens[:, 0], minlength=VOCABULARY).double()
    likely = expected > 5
    observed = torch.cat([counts[likely], counts[~likely].sum()[None]])
    wanted = torch.cat([expected[likely], expected[~likely].sum()[None]])
    assert chisquare(observed.numpy(), wanted.numpy()).pvalue > 1e-3


def test_top_k_and_top_p_cut_the_tail_and_temperature_sharpens(written):
    model = network()
    prompt = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        logits = model(input_ids=prompt, attention_mask=torch.ones_like(prompt)).logits[0, -1]
    logits[EOS] = -torch.inf
    order = logits.argsort(descending=True).tolist()
    many = prompt.repeat(500, 1)

    def seen(**changed):
        tokens = written(many, model, kind="sample", beams=1, new_tokens=1, batch_size=4000, **changed)
        return set(tokens[:, 0].tolist())

    assert seen(top_k=3) == set(order[:3])
    share = logits.softmax(0)[order].cumsum(0)
    kept = int((share < 0.5).sum()) + 1
    assert seen(top_p=0.5) == set(order[:kept])
    assert seen(temperature=0.01) == {order[0]}
    assert len(seen()) > kept


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{}, {"beams": 1}, {"kind": "sample", "beams": 1, "temperature": 5.0}], ids=str)
def test_a_model_of_words_writes_words_and_every_word_can_be_written(written, changed):
    """The tokenizer of words has no special tokens: nothing is forbidden, and nothing but words is written."""
    language = HiddenMarkovLanguage(LanguageSettings(topics=1))
    tokenizer = words_tokenizer(language.vocabulary)
    model = new_network(ArchitectureSettings(16, 1, 2, 32, 64, 0.1, 0.0), tokenizer, Stream(0, 0, "test")).eval()
    prompts = torch.arange(8).reshape(2, 4)
    tokens = written(prompts, model, **changed)
    assert tokens.shape == (2, NEW)
    assert set(tokenizer.decode(tokens.flatten()).split()) <= set(language.vocabulary)
    assert len(tokenizer) == len(language.vocabulary)
    if changed.get("kind") == "sample":
        many = written(prompts[:1].repeat(4000, 1), model, new_tokens=1, batch_size=4000, **changed)
        assert len(many.unique()) == len(language.vocabulary)


# ---- precision -----------------------------------------------------------------------------------------------------


def test_bfloat16_is_another_arithmetic_whatever_the_trainer_casts_to(written, prompts):
    """Sampled with the same numbers, most first tokens agree; inside a trainer's autocast nothing changes."""
    many = prompts.repeat(100, 1)
    sample = {"kind": "sample", "beams": 1, "batch_size": 600, "new_tokens": 2}
    single, half = written(many, **sample), written(many, precision="bf16-true", **sample)
    assert (single[:, 0] == half[:, 0]).float().mean() > 0.9
    assert single.tolist() != half.tolist()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert written(many, **sample).tolist() == single.tolist()


# ---- the key and the choice ----------------------------------------------------------------------------------------


def test_the_recipe_holds_what_the_kind_of_decoding_reads_and_nothing_else():
    def recipe(**changed):
        return decoding_recipe(settings(**changed), "opt")

    beam, sample = recipe(), recipe(kind="sample")
    assert set(beam) - set(sample) == {"beams", "length_penalty"}
    assert set(sample) - set(beam) == {"temperature", "top_k", "top_p"}
    for name, value in {"batch_size": 9, "shown_prompts": 3, "prompts": "previous", "memory_gb": 1.0}.items():
        assert recipe(**{name: value}) == beam
    assert recipe(temperature=2.0) == beam
    assert recipe(kind="sample", min_p=0.1) == {**sample, "min_p": 0.1}
    assert recipe(kind="sample", beams=7) == sample


def test_the_recipe_names_the_engine_that_will_write():
    assert decoding_recipe(settings(engine="auto"), "opt") == decoding_recipe(settings(engine="native"), "opt")
    assert decoding_recipe(settings(engine="auto"), "opt")["engine"] == "native"
    assert decoding_recipe(settings(engine="auto"), "bloom")["engine"] == "transformers"
    assert decoding_recipe(settings(engine="transformers"), "opt")["engine"] == "transformers"


def test_auto_falls_back_on_transformers_and_says_so_in_a_line(prompts, capsys):
    model = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2))
    engine = engine_for(model, settings(engine="auto"), Stream(0, 0, "synthesis"))
    assert engine.continue_prompts(prompts, 0).shape == (6, NEW)
    said = capsys.readouterr().out
    assert "bloom" in said
    assert said.count("\n") == 1
    with pytest.raises(UserError, match="does not know models of type bloom"):
        engine_for(model, settings(engine="native"), Stream(0, 0, "synthesis"))


def test_more_beams_than_tokens_are_refused():
    with pytest.raises(UserError, match=r"decoding\.beams: 30 must be fewer than the 30 tokens"):
        engine_for(network(), settings(beams=VOCABULARY), Stream(0, 0, "synthesis"))
