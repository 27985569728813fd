"""Weights written out of the store: what transformers loads from the folder, and what is refused."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelcollapse.commands.export import main
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.network import load_network
from modelcollapse.store import Store


@pytest.fixture(scope="module")
def store(finished_chain, tmp_path_factory):
    """The store of a tiny finished chain; a copy, since tests take artifacts away."""
    return shutil.copytree(finished_chain[1], tmp_path_factory.mktemp("export") / "store")


def keys(finished_chain, generation):
    """Role to key of a finished generation's artifacts."""
    return finished_chain[0].lines("provenance.jsonl")[generation]


def refused(capsys, *arguments):
    """The one message with which the command line refuses."""
    assert main([str(argument) for argument in arguments]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    return written.err


def same_network(folder, other):
    tokens = torch.arange(7)[None]
    exported = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        return torch.equal(exported(tokens).logits, load_network(other)(tokens).logits)


def test_transformers_loads_the_generation_that_was_asked_for(finished_chain, store, tmp_path):
    key = keys(finished_chain, 2)["model"]
    assert main([key[:10], str(tmp_path / "deep" / "folder"), "--store", str(store)]) == 0
    folder = tmp_path / "deep" / "folder"
    assert same_network(folder, store / "model" / key)
    assert not same_network(folder, store / "model" / keys(finished_chain, 1)["model"])
    tokenizer, kept = AutoTokenizer.from_pretrained(folder), load_tokenizer(store / "model" / key)
    assert tokenizer.get_vocab() == kept.get_vocab()
    assert tokenizer.decode(tokenizer("the girl walked .")["input_ids"]) == "the girl walked ."
    assert not {"manifest.json", "training.jsonl"} & {path.name for path in folder.iterdir()}
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_the_card_says_where_the_weights_come_from(finished_chain, store, tmp_path):
    key = keys(finished_chain, 1)["model"]
    main([key, str(tmp_path / "out"), "--store", str(store)])
    card = (tmp_path / "out" / "README.md").read_text()
    _, manifest = Store(store).find(key)
    assert key in card
    assert "# generation 1 · fit" in card
    for role, parent in manifest.parents.items():
        assert f"| {role} | `{parent}` |" in card
    for library, version in manifest.versions.items():
        assert f"| {library} | {version} |" in card
    recipe = card.split("```json\n")[1].split("```")[0]
    assert json.loads(recipe) == manifest.recipe


def test_the_command_finds_the_store_by_the_environment_and_imports_nothing_heavy(finished_chain, store, tmp_path):
    key = keys(finished_chain, 0)["model"]
    program = (
        "import sys, modelcollapse.commands.export as e; code = e.main(); print('torch' in sys.modules); sys.exit(code)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, key, "out"],
        cwd=tmp_path,
        env={**os.environ, "MODELCOLLAPSE_STORE": str(store)},
        capture_output=True,
        text=True,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"generation 0 · fit (model {key}) is in out\nFalse\n"
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_folder_in_use_is_left_as_it_is(finished_chain, store, tmp_path, capsys):
    key = keys(finished_chain, 0)["model"]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    assert "is not empty" in refused(capsys, key, tmp_path / "used", "--store", store)
    assert "is a file" in refused(capsys, key, tmp_path / "used" / "mine.txt", "--store", store)
    assert [path.name for path in tmp_path.rglob("*")] == ["used", "mine.txt"]
    (tmp_path / "empty").mkdir()
    assert main([key, str(tmp_path / "empty"), "--store", str(store)]) == 0
    assert (tmp_path / "empty" / "config.json").is_file()


def test_what_a_killed_export_began_is_cleared_away_by_the_next(finished_chain, store, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    begun = tmp_path / f".weights.{os.uname().nodename}-{process.pid}"
    begun.mkdir()
    (begun / "model.safetensors").write_bytes(b"half")
    assert main([keys(finished_chain, 1)["model"], str(tmp_path / "weights"), "--store", str(store)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_keys_that_name_no_weights(finished_chain, store, tmp_path, capsys):
    out = tmp_path / "out"
    synthetic = keys(finished_chain, 0)["synthetic"]
    assert "holds no weights" in refused(capsys, synthetic, out, "--store", store)
    assert "no artifact" in refused(capsys, "no-such-key", out, "--store", store)
    ambiguous = refused(capsys, "", out, "--store", store)
    assert "have keys that begin with ''" in ambiguous
    assert synthetic in ambiguous
    assert "there is no store" in refused(capsys, synthetic, out, "--store", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_altered_bytes_are_not_handed_on(finished_chain, tmp_path, capsys, name):
    store = shutil.copytree(finished_chain[1], tmp_path / "store")
    key = keys(finished_chain, 1)["model"]
    damaged = store / "model" / key / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert f"{name} was altered" in refused(capsys, key, tmp_path / "out", "--store", store)
    damaged.unlink()
    assert f"{name} is missing" in refused(capsys, key, tmp_path / "out", "--store", store)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_weights_that_were_not_kept_say_how_to_get_them(chain, tiny, tmp_path, capsys):
    finished = chain(*tiny, "store.keep=ends")
    model = finished.generations()[1].artifacts["model"]
    assert not finished.store.has(model)
    message = refused(capsys, model.key[:12], tmp_path / "out", "--store", finished.store.root)
    assert model.key in message
    assert "store.keep=all" in message
    again = chain(*tiny, "store.keep=all")
    assert main([model.key[:12], str(tmp_path / "out"), "--store", str(again.store.root)]) == 0


def test_pretrained_weights_bring_the_tokenizer_of_the_chain_that_took_them_in(chain, small_opt_words, texts, tmp_path):
    base = chain(*small_opt_words, "generations=0", store=tmp_path / "base-store")
    key = next(manifest.key for manifest in base.store.artifacts() if manifest.kind == "base")
    assert main([key, str(tmp_path / "base"), "--store", str(base.store.root)]) == 0
    words = [word for word in small_opt_words if not word.startswith("model")]
    taken = ["model=opt_125m", f"model.pretrained={tmp_path / 'base'}", "model.training.generation0_epochs=1"]
    pretrained = chain(*words, *taken, "generations=0", execute=False).family.pretrained()
    started = chain(*words, *taken, "generations=0")
    assert main([pretrained.key, str(tmp_path / "out"), "--store", str(started.store.root)]) == 0
    assert same_network(tmp_path / "out", tmp_path / "base")
    tokenizers = [AutoTokenizer.from_pretrained(tmp_path / name) for name in ("base", "out")]
    assert tokenizers[0]("a girl walked")["input_ids"] == tokenizers[1]("a girl walked")["input_ids"]
