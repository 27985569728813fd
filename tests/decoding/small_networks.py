"""Small networks, random and trained ones, the settings to decode with, and a CPU that computes as a GPU would."""

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig, OPTForCausalLM

from modelcollapse.data.language import HiddenMarkovLanguage
from modelcollapse.data.settings import LanguageSettings
from modelcollapse.decoding.native import engine, forward, linear, sampling, vocabulary
from modelcollapse.decoding.native.forward import TorchAttention
from modelcollapse.decoding.native.search import TorchSearch
from modelcollapse.decoding.settings import DecodingSettings

EOS, PAD, NEW = 2, 1, 9


def settings(**changed):
    values = {
        "kind": "beam",
        "new_tokens": NEW,
        "prompt_tokens": None,
        "prompts": "real",
        "beams": 3,
        "length_penalty": 1.0,
        "repetition_penalty": 1.0,
        "no_repeat_ngram": 0,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "batch_size": 4,
        "workers": 1,
        "memory_gb": 4.0,
        "engine": "native",
        "precision": "32-true",
        "shown_prompts": 0,
        "shown_texts": (),
    }
    return DecodingSettings(**{**values, **changed})


def network(seed=5, init_std=0.4, **shape):
    """A tiny network with random weights."""
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32}
    sizes = {**sizes, **shape}
    sizes.setdefault("word_embed_proj_dim", sizes["hidden_size"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OPTForCausalLM(OPTConfig(**sizes, max_position_embeddings=128, init_std=init_std)).eval()


def trained(steps=60, **shape):
    """A small network fitted for seconds to the built-in language, and blocks of it that it has not seen."""
    language = HiddenMarkovLanguage(LanguageSettings(topics=2))
    words = torch.tensor(language.sample(48 * steps + 64, 32, _generator())).long() + 3
    model = network(init_std=0.02, vocab_size=len(language.vocabulary) + 3, **shape).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for blocks in words[64:].split(48):
            optimiser.zero_grad()
            model(input_ids=blocks, labels=blocks).loss.backward()
            optimiser.step()
    return model.eval(), words[:64]


def other_networks():
    """Configurations of the kinds of network that are no OPT."""
    sizes = {"vocab_size": 67, "bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": PAD}
    gpt2 = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
    llama = {"hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6}
    llama |= {"max_position_embeddings": 64, "initializer_range": 0.3}
    return {
        "gpt2": GPT2Config(**sizes, **gpt2),
        "gpt2, scaled by layer": GPT2Config(**sizes, **gpt2, scale_attn_by_inverse_layer_idx=True),
        "llama, heads that share": LlamaConfig(**sizes, **llama, num_key_value_heads=2),
        "llama, biases, untied": LlamaConfig(**sizes, **llama, attention_bias=True, tie_word_embeddings=False),
        "llama, wide heads": LlamaConfig(**sizes, **llama, head_dim=12, tie_word_embeddings=True),
    }


def network_of(config):
    """A network with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return AutoModelForCausalLM.from_config(config).eval()


def as_on_gpus(monkeypatch):
    """What runs on other devices, run here: torch's operators, and a slot for every beam at every step."""
    monkeypatch.setattr(forward, "step_attention", TorchAttention)
    monkeypatch.setattr(vocabulary, "new_search", TorchSearch)
    monkeypatch.setattr(linear, "packing_works", lambda dtype: False)
    monkeypatch.setattr(sampling, "FIRST_LOOK", 10**9)
    monkeypatch.setattr(engine, "recycling_pays", lambda device: False)


def _generator():
    from numpy.random import default_rng

    return default_rng(0)
