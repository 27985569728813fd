"""What a config.json says before weights are read: parameters and the name that people see."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.hub import source_recipe
from modelcollapse.data.sources import BadSource
from modelcollapse.families.language_model.recipes import tokenizer_source
from modelcollapse.families.language_model.shapes import PUBLISHED, folder_shape, known_shape, shown_name

OPT = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 20, "vocab_size": 70}
GPT2 = {"n_positions": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50}
LLAMA = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 90}
CONFIGURATIONS = {
    "opt": OPTConfig(**OPT),
    "opt as published": OPTConfig(),
    "opt, projected, normalised after": OPTConfig(**OPT, word_embed_proj_dim=12, do_layer_norm_before=False),
    "opt, no biases": OPTConfig(**OPT, enable_bias=False, layer_norm_elementwise_affine=False),
    "gpt2": GPT2Config(**GPT2),
    "gpt2 as published": GPT2Config(),
    "gpt2, untied, narrow": GPT2Config(**GPT2, n_inner=10, tie_word_embeddings=False),
    "llama": LlamaConfig(**LLAMA),
    "llama, tied, grouped": LlamaConfig(**LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    "llama, own head size, biases": LlamaConfig(**LLAMA, head_dim=10, attention_bias=True, mlp_bias=True),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_parameters_are_those_of_the_network(name, tmp_path):
    configuration = CONFIGURATIONS[name]
    configuration.save_pretrained(tmp_path)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(configuration)
    shape = folder_shape(tmp_path)
    assert shape.parameters == sum(weight.numel() for weight in network.parameters())
    assert (shape.vocabulary, shape.width) == (configuration.vocab_size, configuration.hidden_size)
    assert (shape.layers, shape.heads) == (configuration.num_hidden_layers, configuration.num_attention_heads)
    assert shape.positions == configuration.max_position_embeddings


def test_what_leaves_its_defaults_out_has_them(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "opt", "vocab_size": 50272}', "utf-8")
    assert folder_shape(tmp_path) == PUBLISHED["facebook/opt-125m"]
    assert folder_shape(tmp_path).parameters == 125_239_296


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model_type": "t5"}', '{"model_type": "gpt2", "n_embd": "x"}', '{"model_type": ["opt"]}']
)
def test_what_is_not_understood_is_not_known(text, tmp_path):
    (tmp_path / "config.json").write_text(text, "utf-8")
    assert folder_shape(tmp_path) is None
    assert folder_shape(tmp_path / "nowhere") is None


@pytest.fixture
def model(compose_values):
    values = compose_values("model=pretrained", "data=wikitext2", "model.pretrained=owner/name", "tracking=none")
    return read_chain_settings(values).model


def test_a_folder_is_named_by_what_it_holds(model, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    GPT2Config(**GPT2).save_pretrained(folder)
    name = "GPT-2 of 8.0 k parameters (mine)"
    assert shown_name(replace(model, pretrained=str(folder))) == name
    monkeypatch.chdir(folder)
    assert shown_name(replace(model, pretrained=".")) == name
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}), "utf-8")
    assert shown_name(replace(model, pretrained=str(folder))) == "mine"


def test_a_repository_is_named_by_its_id_wherever_its_files_are(model, tmp_path):
    assert shown_name(model) == "owner/name"
    snapshot = tmp_path / "models--owner--other" / "snapshots" / ("a" * 40)
    GPT2Config(**GPT2).save_pretrained(snapshot)
    assert shown_name(replace(model, pretrained=str(snapshot))) == "owner/other"
    assert known_shape(replace(model, pretrained=str(snapshot))).kind == "GPT-2"
    assert known_shape(model) is None


def test_a_name_that_is_given_is_shown(model):
    assert shown_name(replace(model, name="mine", pretrained=str(Path.cwd()))) == "mine"


COMMIT, OTHER = "a" * 40, "b" * 40


def test_the_commit_of_the_weights_is_not_asked_of_another_repositorys_tokenizer(model, tmp_path):
    """Weights and tokenizer may come from two repositories, each by a commit of its own."""

    def source(path, own=None, **changed):
        tokenizer = replace(model.tokenizer, path=path, revision=own)
        return tokenizer_source(replace(model, revision=COMMIT, tokenizer=tokenizer, **changed))

    assert source(None) == ("owner/name", COMMIT, "model.pretrained")
    assert source("owner/name") == ("owner/name", COMMIT, "model.tokenizer.path")
    assert source("me/other") == ("me/other", None, "model.tokenizer.path")
    assert source("me/other", OTHER) == ("me/other", OTHER, "model.tokenizer.path")
    assert source("me/other", pretrained=str(tmp_path)) == ("me/other", COMMIT, "model.tokenizer.path")
    with pytest.raises(BadSource, match=r"model.tokenizer.revision=null is none; .* model.tokenizer.path=FOLDER"):
        source_recipe(*source("me/other"))
