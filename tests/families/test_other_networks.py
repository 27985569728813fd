"""Chains from published weights that are no OPT's: GPT-2 and Llama, output weights tied and not."""

import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from modelcollapse.data.blocks import read_blocks
from modelcollapse.errors import UserError
from modelcollapse.families.language_model import layers
from modelcollapse.families.language_model.module import token_losses
from modelcollapse.families.language_model.network import load_network, network_config, save_network, scoring_bytes

WORDS = (
    "model=opt_125m",
    "data=text_files",
    "decoding=beam",
    "tracking=none",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "model.training.epochs=1",
    "model.training.generation0_epochs=2",
    "model.training.batch_size=7",
    "model.training.learning_rate=1e-2",
    "data.block_length=8",
    "data.train_blocks=20",
    "data.evaluation_blocks=8",
    "decoding.beams=2",
    "generations=1",
)
GPT2 = {"n_positions": 40, "n_embd": 16, "n_layer": 2, "n_head": 2}
LLAMA = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA |= {"num_key_value_heads": 2, "max_position_embeddings": 40}
KINDS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, GPT2),
    "gpt2, untied": (GPT2LMHeadModel, GPT2Config, {**GPT2, "tie_word_embeddings": False}),
    "llama": (LlamaForCausalLM, LlamaConfig, LLAMA),
    "llama, tied": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "tie_word_embeddings": True}),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def folder(request, tmp_path_factory, pretrained):
    """A tiny network with random weights and its tokenizer, as save_pretrained writes them."""
    network_class, config_class, shape = request.param
    place = tmp_path_factory.mktemp("weights")
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    tokenizer.save_pretrained(place)
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = network_class(config_class(**shape, vocab_size=len(tokenizer), **special))
    network.save_pretrained(place)
    return place


@pytest.fixture
def overrides(folder, texts):
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    return [*WORDS, *files, f"model.pretrained={folder}"]


def test_a_whole_chain(chain, overrides, folder):
    run = chain(*overrides)
    kind, parameters = {GPT2LMHeadModel: "GPT-2", LlamaForCausalLM: "Llama"}[type(load_network(folder))], r"[\d.]+ k"
    assert re.fullmatch(rf"{kind} of {parameters} parameters \({folder.name}\)", run.family.title)
    first, second = run.lines()
    assert first["test/perplexity"] < 0.9 * first["zero_shot/test/perplexity"]
    assert second["test/perplexity"] > 1
    artifacts = run.generations()[0].artifacts
    synthetic = read_blocks(run.store.folder(artifacts["synthetic"]), "blocks")
    prompts = read_blocks(run.store.folder(run.family.inputs()["real"]), "train").long()
    fitted = load_network(run.store.folder(artifacts["model"]))
    assert type(fitted) is type(load_network(folder))
    with torch.no_grad():
        expected = fitted.generate(
            prompts, attention_mask=torch.ones_like(prompts), num_beams=2, min_new_tokens=8, max_new_tokens=8
        )
    assert (synthetic == expected[:, -8:]).all(1).float().mean() > 0.9
    # What the plan said of each artifact before anything was read.
    for artifact in (*artifacts.values(), run.family.inputs()["pretrained"]):
        if artifact.expected_bytes is not None:
            assert artifact.expected_bytes == _tensor_bytes(run.store.folder(artifact)), artifact.label
    assert {artifact.kind for artifact in artifacts.values() if artifact.expected_bytes is None} == {"continuations"}
    assert artifacts["model"].operations > artifacts["synthetic"].operations > artifacts["scores"].operations > 0


def _tensor_bytes(folder):
    """Bytes of the tensors of a folder, apart from single numbers."""
    tensors = [tensor for path in folder.glob("*.safetensors") for tensor in load_file(path).values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.ndim)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_are_those_of_the_networks_own_head(folder, precision, monkeypatch):
    network, tokens = load_network(folder), torch.randint(0, 200, (5, 9))
    with torch.no_grad():
        logits = network(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[:, :-1]
        expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        monkeypatch.setattr(layers, "SMALLEST_WEIGHT", 0)
        layers.use_fast_layers(network)
        if precision == "bf16-mixed":
            layers.use_fast_half_precision_attention(network, torch.device("cpu"))
        with torch.autocast("cpu", torch.bfloat16, precision == "bf16-mixed"):
            found = token_losses(network, tokens)
    assert torch.allclose(found, expected, atol=1e-5 if precision == "32-true" else 5e-2)


def test_positions_and_sizes_are_found_under_every_name(folder, train, overrides):
    assert network_config(folder).max_position_embeddings == 40
    assert scoring_bytes(load_network(folder), 10) > 4 * 10 * 6 * 16
    finished = train(*overrides, "decoding.new_tokens=8", "data.block_length=24", "decoding.new_tokens=24")
    assert finished.code == 2
    assert "have positions for 40" in finished.err


def test_output_weights_that_are_missing_are_refused_where_they_are_not_tied(folder, tmp_path):
    network = load_network(folder)
    assert (network.lm_head.weight is network.get_input_embeddings().weight) == network.config.tie_word_embeddings
    network.config.tie_word_embeddings = False
    state = {name: weight.clone() for name, weight in network.state_dict().items() if name != "lm_head.weight"}
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(UserError, match=r"weights are missing: lm_head\.weight"):
        load_network(tmp_path)


def test_what_is_saved_is_what_was_loaded(folder, tmp_path):
    network = load_network(folder)
    save_network(network, tmp_path)
    found = load_network(tmp_path).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in network.state_dict().items())
