"""Published weights: folders in the hub's format, with the real OPT tokenizer; pickled, malicious, incomplete."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, OPTForCausalLM

from conftest import SHARED_DATA, run_chain_of, run_command, tiny_opt
from modelcollapse.data.blocks import read_blocks
from modelcollapse.errors import UserError
from modelcollapse.families.language_model.network import load_network

REAL_TOKENIZER = SHARED_DATA / "opt-tokenizer"
REAL_TEXT = SHARED_DATA / "wikitext-2-sample"
WORDS = (
    "model=opt_125m",
    "data=wikitext2",
    "regime=preserve",
    "decoding=beam",
    "tracking=none",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "model.training.epochs=2",
    "model.training.batch_size=10",
    "model.training.generation0_epochs=1",
    "data.block_length=16",
    "data.train_blocks=30",
    "data.evaluation_blocks=15",
    "decoding.beams=2",
    "generations=2",
)


@pytest.fixture(scope="module")
def opt_folder(tmp_path_factory):
    """A tiny OPT under the real tokenizer, as save_pretrained writes it."""
    if not REAL_TOKENIZER.is_dir():
        pytest.skip("needs OPT's tokenizer in ../shared/data/opt-tokenizer")
    folder = tmp_path_factory.mktemp("opt")
    tokenizer = AutoTokenizer.from_pretrained(REAL_TOKENIZER)
    tokenizer.save_pretrained(folder)
    tiny_opt(tokenizer, vocab_size=50272).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wikitext(tmp_path_factory, texts):
    """Real WikiText where there is some, else other text under its file names."""
    if REAL_TEXT.is_dir():
        return REAL_TEXT
    folder = tmp_path_factory.mktemp("wikitext")
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        shutil.copy(texts / f"{split}.txt", folder / f"wiki.{name}.raw")
    return folder


@pytest.fixture
def copy(tmp_path, pretrained):
    """A copy of the tiny pretrained folder, to be damaged."""
    return shutil.copytree(pretrained, tmp_path / "copy")


def as_pickle(folder, state):
    """Replace the folder's weights by a pytorch_model.bin of these tensors, as facebook/opt-125m has it."""
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")


@pytest.fixture(scope="module")
def real_chain(tmp_path_factory, opt_folder, wikitext):
    """The chain from a tiny OPT under the real tokenizer on real text: what the command left, and its artifacts."""
    place = tmp_path_factory.mktemp("real")
    overrides = [*WORDS, "data.train_blocks=14", "data.evaluation_blocks=8", "model.training.batch_size=7"]
    overrides += [f"model.pretrained={opt_folder}", f"data.path={wikitext}"]
    folders = [f"paths.store={place / 'store'}", f"hydra.run.dir={place / 'run'}"]
    finished = run_command([*overrides, *folders], place, place / "run")
    return finished, run_chain_of(overrides, place / "store", None, execute=False)


def test_a_chain_from_published_weights_with_the_real_tokenizer(real_chain):
    finished, _ = real_chain
    assert finished.code == 0, finished.err
    lines = finished.lines()
    assert [line["generation"] for line in lines] == [0, 1, 2]
    assert lines[0]["zero_shot/test/perplexity"] == pytest.approx(50272, rel=0.5)
    assert lines[0]["test/perplexity"] != lines[0]["zero_shot/test/perplexity"]
    for split in ("validation", "test"):
        assert lines[0][f"{split}/perplexity_without_line_starts"] != lines[0][f"{split}/perplexity"]
    epochs = [(line["generation"], line["epoch"]) for line in finished.lines("training.jsonl")]
    assert epochs == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_the_published_weights_are_taken_over_to_the_bit(real_chain, opt_folder):
    _, declared = real_chain
    first = declared.generations()[0].artifacts
    artifact = first["zero_shot"].parents["model"]
    ours, theirs = (load_network(folder).state_dict() for folder in (declared.store.folder(artifact), opt_folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert first["model"].parents["initial"] == artifact


def test_real_text_is_tokenised_as_opt_reads_it_with_a_start_token_before_every_line(real_chain, wikitext):
    _, declared = real_chain
    tokenizer = AutoTokenizer.from_pretrained(REAL_TOKENIZER)
    with (wikitext / "wiki.test.raw").open(encoding="utf-8", newline="\n") as file:
        lines = [line if line.strip() else "" for line in file]
    tokens = [token for line in lines for token in tokenizer(line)["input_ids"]]
    blocks = read_blocks(declared.store.folder(declared.family.inputs()["real"]), "test")
    assert blocks.shape == (8, 16)
    assert blocks.flatten().tolist() == tokens[: blocks.numel()]
    assert tokens[0] == tokenizer.bos_token_id == 2


def test_published_weights_and_the_same_ones_elsewhere_are_one_key(chain, pretrained, tmp_path, texts):
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    overrides = ["model=opt_125m", "data=text_files", "decoding=beam", *files, "data.block_length=8"]

    def key(folder):
        declared = chain(*overrides, f"model.pretrained={folder}", execute=False).generations()[0]
        return declared.artifacts["model"].key

    moved = shutil.copytree(pretrained, tmp_path / "moved")
    assert key(moved) == key(pretrained)
    weights = load_file(moved / "model.safetensors")
    weights["model.decoder.final_layer_norm.bias"] += 1
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert key(moved) != key(pretrained)


# ---- what is loaded, and what is refused ----------------------------------------------------------------------------


def test_loading_gives_float32_in_evaluation_mode_with_tied_weights(copy):
    OPTForCausalLM.from_pretrained(copy, dtype=torch.float16).save_pretrained(copy)
    network = load_network(copy)
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert not network.training
    assert network.lm_head.weight is network.get_input_embeddings().weight


def test_pickled_plain_tensors_are_read(copy, pretrained):
    expected = load_network(pretrained).state_dict()
    as_pickle(copy, expected)
    found = load_network(copy).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_pickle_as_facebooks_is_read(copy, pretrained):
    """facebook/opt-125m: half precision, names without the leading ``model.``, no output weights."""
    expected = load_network(pretrained).state_dict()
    state = {name.removeprefix("model."): value.half() for name, value in expected.items() if "lm_head" not in name}
    as_pickle(copy, state)
    found = load_network(copy).state_dict()
    assert all(torch.equal(found[name], expected[name].half().float()) for name in expected)


def test_a_chain_from_a_pickle(chain, copy, pretrained, texts):
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    overrides = [word for word in WORDS if word != "data=wikitext2"] + ["data=text_files", *files, "generations=1"]
    expected = chain(*overrides, f"model.pretrained={pretrained}")
    as_pickle(copy, load_network(pretrained).state_dict())
    assert chain(*overrides, f"model.pretrained={copy}").bytes() == expected.bytes()


class Malice:
    def __init__(self, target):
        self._target = target

    def __reduce__(self):
        return (open, (str(self._target), "w"))


def test_a_malicious_pickle_is_refused_and_not_executed(train, copy, tmp_path, texts):
    target = tmp_path / "executed"
    (copy / "model.safetensors").unlink()
    torch.save({"model.decoder.embed_tokens.weight": Malice(target)}, copy / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        load_network(copy)
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    overrides = [word for word in WORDS if word != "data=wikitext2"]
    finished = train(*overrides, "data=text_files", *files, f"model.pretrained={copy}")
    assert finished.code == 2
    assert "pytorch_model.bin" in finished.err
    assert "Traceback" not in finished.err
    assert not target.exists()
    # The pickle is malicious indeed: who trusts it, executes it.
    torch.load(copy / "pytorch_model.bin", weights_only=False)
    assert target.exists()


def test_a_plain_pickle_of_malice_is_refused_and_not_executed(copy, tmp_path):
    target = tmp_path / "executed"
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Malice(target)))
    with pytest.raises(UserError):
        load_network(copy)
    assert not target.exists()


def test_code_beside_the_weights_is_not_run(copy, tmp_path):
    target = tmp_path / "executed"
    (copy / "modeling_evil.py").write_text(f"open({str(target)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    (copy / "config.json").write_text(json.dumps(config))
    load_network(copy)
    assert not target.exists()


@pytest.mark.parametrize(
    "name",
    [
        "model.decoder.layers.0.fc1.weight",
        "model.decoder.embed_positions.weight",
        "model.decoder.final_layer_norm.bias",
    ],
)
def test_a_missing_weight_is_refused_by_name(copy, name):
    weights = load_file(copy / "model.safetensors")
    del weights[name]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=name):
        load_network(copy)


def test_weights_of_another_shape_are_refused(copy):
    weights = load_file(copy / "model.safetensors")
    weights["model.decoder.layers.0.fc1.weight"] = torch.zeros(32, 15)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="fc1"):
        load_network(copy)


def test_another_architecture_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "bloom"}))
    with pytest.raises(UserError, match="a model of type bloom; it must be one of opt, gpt2, llama"):
        load_network(copy)


def test_cut_off_weights_are_refused(copy):
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match=str(copy)):
        load_network(copy)


def test_a_folder_below_the_home_folder_is_found(copy, monkeypatch):
    monkeypatch.setenv("HOME", str(copy.parent))
    expected = load_network(copy).state_dict()
    found = load_network("~/copy").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("left", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_reported(copy, left):
    for path in copy.iterdir():
        if path.name != left:
            path.unlink()
    with pytest.raises(UserError, match=str(copy)):
        load_network(copy)


def test_an_unreachable_name_is_reported_without_a_traceback(train, monkeypatch, texts):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    overrides = [word for word in WORDS if word != "data=wikitext2"]
    finished = train(*overrides, "data=text_files", *files, "model.pretrained=./no-such-folder")
    assert finished.code == 2
    assert "no-such-folder" in finished.err
    assert "Traceback" not in finished.err
