"""Folders of weights that are damaged, of another kind, or made to harm: one message, nothing kept, nothing run."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelcollapse.errors import UserError
from modelcollapse.families.language_model.fitting import build_pretrained
from modelcollapse.families.language_model.inputs import build_tokenizer, input_problems
from modelcollapse.families.language_model.recipes import StageContext, tokenizer_recipe, weights_recipe

HUGE = 10**7


def config(**changed):
    """Change entries of config.json; None takes one away."""

    def change(folder):
        path = folder / "config.json"
        entries = {**json.loads(path.read_text("utf-8")), **changed}
        path.write_text(json.dumps({name: value for name, value in entries.items() if value != "absent"}), "utf-8")

    return change


def weights(change):
    """Change the tensors of model.safetensors, a mapping."""

    def changed(folder):
        tensors = load_file(folder / "model.safetensors")
        save_file(change(tensors) or tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def tokenizer(change):
    """Change the description in tokenizer.json, a mapping."""

    def changed(folder):
        path = folder / "tokenizer.json"
        description = json.loads(path.read_text("utf-8"))
        change(description)
        path.write_text(json.dumps(description), "utf-8")

    return changed


def index(weight_map):
    def changed(folder):
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")

    return changed


def in_place_of(name, kind):
    """A pipe, a socket, a device or a link in the place of a file."""

    def changed(folder):
        path = folder / name
        moved = path.rename(folder.parent / f"moved-{name}")
        {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to(moved)}[kind](path)

    return changed


def pickled(content):
    def changed(folder):
        (folder / "model.safetensors").unlink()
        if isinstance(content, bytes):
            (folder / "pytorch_model.bin").write_bytes(content)
        else:
            torch.save(content, folder / "pytorch_model.bin")

    return changed


def together(*changes):
    return lambda folder: [change(folder) for change in changes]


def cut(name, part):
    return lambda folder: os.truncate(folder / name, int((folder / name).stat().st_size * part))


def safetensors_header(header):
    def changed(folder):
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))

    return changed


SIZES = ("num_hidden_layers", "num_attention_heads", "hidden_size", "ffn_dim", "max_position_embeddings", "vocab_size")
NO_SIZES = (-1, 0, "text", 1.5, None, [2], 2**40)
DROPOUTS = ("dropout", "attention_dropout")
EMBEDDING = "model.decoder.embed_tokens.weight"
BIAS = "model.decoder.final_layer_norm.bias"
DAMAGES = {
    **{f"{name}={value!r}": config(**{name: value}) for name in SIZES for value in NO_SIZES},
    **{f"{name} huge": config(**{name: HUGE}) for name in SIZES},
    **{f"{name} doubled": config(**{name: 2 * 16}) for name in ("hidden_size", "vocab_size")},
    "hidden_size absent": config(hidden_size="absent"),
    "layers that are not there": config(num_hidden_layers=60),
    "heads that do not divide": config(num_attention_heads=3),
    "word_embed_proj_dim": config(word_embed_proj_dim=8),
    "unknown activation": config(activation_function="no_such_activation"),
    "activation as number": config(activation_function=3),
    **{f"{name}={value!r}": config(**{name: value}) for name in DROPOUTS for value in (-1, 2, "x")},
    "layerdrop": config(layerdrop=7),
    "quantised by bitsandbytes": config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "quantised by gptq": config(quantization_config={"quant_method": "gptq", "bits": 4}),
    "quantised by nothing": config(quantization_config="x"),
    "no type": config(model_type="absent"),
    "another type": config(model_type="bloom"),
    "a type of its own": config(model_type="../../evil", auto_map={"AutoConfig": "evil.Evil"}),
    "a list as type": config(model_type=["opt"]),
    "a mapping as type": config(model_type={"opt": 1}),
    "gpt2 by name": config(model_type="gpt2"),
    "llama by name": config(model_type="llama"),
    "config empty": write("config.json", ""),
    "config half": cut("config.json", 0.5),
    "config a list": write("config.json", "[]"),
    "config a number": write("config.json", "7"),
    "config null": write("config.json", "null"),
    "config deep": write("config.json", "[" * 100_000),
    "config binary": write("config.json", bytes(range(256))),
    "config in UTF-16": lambda folder: (folder / "config.json").write_text("{}", "utf-16"),
    "config without a layer": write("config.json", '{"model_type": "opt"}'),
    "config too long": write("config.json", b" " * (2**24 + 1) + b"{}"),
    "config gone": remove("config.json"),
    "config a pipe": in_place_of("config.json", "pipe"),
    "config a folder": in_place_of("config.json", "folder"),
    "config a link outside": in_place_of("config.json", "link"),
    "weights gone": remove("model.safetensors"),
    "weights empty": write("model.safetensors", b""),
    "weights zeros": write("model.safetensors", bytes(100_000)),
    "weights half": cut("model.safetensors", 0.5),
    "weights nearly whole": cut("model.safetensors", 0.99),
    "weights a header": cut("model.safetensors", 0.02),
    "weights a pipe": in_place_of("model.safetensors", "pipe"),
    "weights a folder": in_place_of("model.safetensors", "folder"),
    "weights a link outside": in_place_of("model.safetensors", "link"),
    "weights with a huge header": write("model.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
    "weights of a huge tensor": safetensors_header(
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ),
    "weights of an unknown kind": safetensors_header({"a": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}}),
    "weights that overlap": safetensors_header(
        {name: {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} for name in "ab"}
    ),
    "weights of none": weights(lambda tensors: {"other": torch.zeros(9)}),
    "a weight missing": weights(lambda tensors: tensors.pop(BIAS) is None),
    "the embedding missing": weights(lambda tensors: tensors.pop(EMBEDDING) is None),
    "a weight misshapen": weights(lambda tensors: {**tensors, BIAS: torch.zeros(17)}),
    "a weight of two dimensions": weights(lambda tensors: {**tensors, BIAS: torch.zeros(4, 4)}),
    "a weight of no number": weights(lambda tensors: {**tensors, BIAS: torch.full((16,), float("nan"))}),
    "an infinite weight": weights(lambda tensors: {**tensors, BIAS: torch.full((16,), float("inf"))}),
    "a weight too many": weights(lambda tensors: {**tensors, "model.decoder.layers.0.adapter.weight": torch.ones(3)}),
    "a layer too many": weights(lambda tensors: {**tensors, "model.decoder.layers.1.fc1.bias": torch.ones(32)}),
    "an index outside": index({EMBEDDING: "../outside.safetensors"}),
    "an index of an absolute path": index({EMBEDDING: "/etc/hostname.safetensors"}),
    "an index of a hidden file": index({EMBEDDING: ".hidden/model.safetensors"}),
    "an index of the config": index({EMBEDDING: "config.json"}),
    "an index of nothing": index({}),
    "an index of numbers": index({EMBEDDING: 7}),
    "an index that is a list": index([EMBEDDING]),
    "an index of what is not there": index({EMBEDDING: "model-00001-of-00002.safetensors"}),
    "a pickle of nothing": pickled(b""),
    "a pickle of text": pickled(b"no pickle at all"),
    "a pickle of a list": pickled([torch.zeros(3)]),
    "a pickle of numbers": pickled({"a": 3}),
    "a pickle of one tensor": pickled({EMBEDDING: torch.zeros(300, 16)}),
    "a pickle that calls": pickled(b"cposix\nsystem\n(S'exit 1'\ntR."),
    "an adapter": write("adapter_config.json", '{"peft_type": "LORA", "base_model_name_or_path": "evil/evil"}'),
    "tokenizer gone": remove("tokenizer.json", "tokenizer_config.json"),
    "tokenizer.json gone": remove("tokenizer.json"),
    "tokenizer empty": write("tokenizer.json", ""),
    "tokenizer half": cut("tokenizer.json", 0.5),
    "tokenizer a list": write("tokenizer.json", "[]"),
    "tokenizer null": write("tokenizer.json", "null"),
    "tokenizer a pipe": in_place_of("tokenizer.json", "pipe"),
    "tokenizer a link outside": in_place_of("tokenizer.json", "link"),
    "tokenizer_config a list": write("tokenizer_config.json", "[]"),
    "tokenizer_config half": cut("tokenizer_config.json", 0.5),
    "vocabulary as text": tokenizer(lambda description: description["model"].update(vocab="text")),
    "vocabulary as list": tokenizer(lambda description: description["model"].update(vocab=["a", "b"])),
    "vocabulary empty": tokenizer(lambda description: description["model"].update(vocab={}, merges=[])),
    "merges of unknown words": tokenizer(lambda description: description["model"].update(merges=[["no", "such"]])),
    "token id 2^40": tokenizer(lambda description: description["model"]["vocab"].update(word=2**40)),
    "token id 2^31": tokenizer(lambda description: description["model"]["vocab"].update(word=2**31)),
    "negative token id": tokenizer(lambda description: description["model"]["vocab"].update(word=-1)),
    "token id beyond the weights": tokenizer(lambda description: description["model"]["vocab"].update(word=5000)),
    "unknown model": tokenizer(lambda description: description["model"].update(type="Evil")),
    "unknown pre-tokenizer": tokenizer(lambda description: description.update(pre_tokenizer={"type": "Evil"})),
    "added tokens beyond the weights": tokenizer(
        lambda description: description["added_tokens"].append(
            {**description["added_tokens"][0], "id": 9000, "content": "<x>"}
        )
    ),
    "eos outside the vocabulary": config(eos_token_id=50_256),
    "eos negative": config(eos_token_id=-1),
    "eos another than the tokenizer's": config(eos_token_id=7),
    "bos another than the tokenizer's": config(bos_token_id=0),
    "bos outside the vocabulary": config(bos_token_id=2**40),
    "one end of several outside the vocabulary": config(eos_token_id=[2, 70_000]),
    "nothing in the folder": lambda folder: [path.unlink() for path in folder.iterdir()],
}  # fmt: skip


class Context:
    """A build of a stage outside any store."""

    def __init__(self, folder, recipe, **parents):
        folder.mkdir()
        self.folder, self.parents, self.execution = folder, parents, {}
        self.artifact = type("Declared", (), {"recipe": recipe})


def taken_in(settings, folder):
    """What a chain does with a folder before its first fit: declared, tokenizer and weights taken in, checked."""
    stage = StageContext(settings.model, settings.data, settings.decoding, None)
    tokenizer = Context(folder / "tokenizer", tokenizer_recipe(settings.model, settings.data))
    build_tokenizer(stage, tokenizer)
    network = Context(folder / "network", weights_recipe(settings.model), tokenizer=tokenizer.folder)
    build_pretrained(stage, network)
    folders = {"tokenizer": tokenizer.folder, "pretrained": network.folder}
    return list(input_problems(settings.model, settings.data, settings.decoding, folders))


@pytest.fixture
def settings_for(compose_values, texts):
    """Settings of a chain from a folder of weights."""
    from modelcollapse.config.settings import read_chain_settings

    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    words = ["model=opt_125m", "data=text_files", *files, "data.block_length=8", "decoding.new_tokens=8"]
    values = compose_values(*words, "model.pretrained=FOLDER")

    def settings(folder):
        return read_chain_settings({**values, "model": {**values["model"], "pretrained": str(folder)}})

    return settings


def test_there_are_a_hundred_ways_and_the_whole_folder_is_taken(settings_for, pretrained, tmp_path):
    assert len(DAMAGES) >= 150
    assert taken_in(settings_for(pretrained), tmp_path) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_a_malformed_folder_is_refused_in_one_message_that_names_it(settings_for, pretrained, tmp_path, name):
    folder = shutil.copytree(pretrained, tmp_path / "folder")
    DAMAGES[name](folder)
    try:
        said = "\n".join(taken_in(settings_for(folder), tmp_path))
    except UserError as error:
        said = str(error)
    assert str(folder) in said
    assert "/view" not in said
    assert len(said) < 600
