"""Models and synthetic sets written out of the store: what others load from the folder, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import EXECUTION
from modelcollapse.commands import store as store_command
from modelcollapse.commands.export import main
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.network import load_network
from modelcollapse.store import Manifest, Store
from modelcollapse.store.artifacts import sha256_of_json

GAUSSIAN = ("experiment=paper_gaussian", "generations=3", "data.rows=20", "model.replicates=4", *EXECUTION)
VAE = (
    *("model=vae", "data=digits", "decoding=none", *EXECUTION, "generations=1"),
    *("data.train_rows=120", "data.validation_rows=24", "data.test_rows=30"),
    *("model.architecture.channels=2", "model.architecture.latents=3"),
    *("model.training.epochs=1", "model.training.batch_size=16", "model.classifier.epochs=1", "model.synthesis=fixed"),
    *("model.evaluation.samples=30", "model.evaluation.latent_samples=20", "model.evaluation.shown=4"),
)


@pytest.fixture(scope="module")
def store(finished_chain, tmp_path_factory):
    """The store of a tiny finished chain; a copy, since tests take artifacts away."""
    return shutil.copytree(finished_chain[1], tmp_path_factory.mktemp("export") / "store")


def keys(finished_chain, generation):
    """Role to key of a finished generation's artifacts."""
    return finished_chain[0].lines("provenance.jsonl")[generation]


def by_key(key, folder, store):
    """Write an artifact by its key."""
    return store_command.main(["export", str(key), str(folder), "--store", str(store)])


def refused(capsys, *arguments, command=main):
    """The one message with which the command line refuses."""
    assert command([str(argument) for argument in arguments]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    return written.err


def same_network(folder, other):
    tokens = torch.arange(7)[None]
    exported = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        return torch.equal(exported(tokens).logits, load_network(other)(tokens).logits)


def test_transformers_loads_the_generation_that_was_asked_for(finished_chain, store, tmp_path, capsys):
    run, folder = finished_chain[0].folder, tmp_path / "deep" / "folder"
    assert main([str(run), "2", str(folder), "--store", str(store)]) == 0
    key = keys(finished_chain, 2)["model"]
    assert capsys.readouterr().out == f"generation 2 · fit (model {key}) is in {folder}\n"
    assert same_network(folder, store / "model" / key)
    assert not same_network(folder, store / "model" / keys(finished_chain, 1)["model"])
    tokenizer, kept = AutoTokenizer.from_pretrained(folder), load_tokenizer(store / "model" / key)
    assert tokenizer.get_vocab() == kept.get_vocab()
    assert tokenizer.decode(tokenizer("the girl walked .")["input_ids"]) == "the girl walked ."
    assert not {"manifest.json", "training.jsonl"} & {path.name for path in folder.iterdir()}
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_a_synthetic_set_of_text_is_a_table_of_tokens_and_text(finished_chain, store, tmp_path):
    import pandas as pd

    from modelcollapse.data.blocks import read_blocks

    run, folder = finished_chain[0].folder, tmp_path / "out"
    assert main([str(run), "1", str(folder), "--synthetic", "--store", str(store)]) == 0
    rows = pd.read_parquet(folder / "synthetic.parquet")
    roles = keys(finished_chain, 1)
    blocks = read_blocks(store / "synthetic" / roles["synthetic"], "blocks")
    assert [list(tokens) for tokens in rows.tokens] == blocks.tolist()
    tokenizer = load_tokenizer(store / "model" / roles["model"])
    assert list(rows.text) == tokenizer.batch_decode(blocks)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "synthetic.parquet"]


def test_images_and_their_model_are_read_as_the_readme_says(train, tmp_path, monkeypatch):
    run = train(*VAE)
    assert run.code == 0
    # The store is found by the run's own configuration.
    assert main([str(run.folder), "1", str(tmp_path / "model")]) == 0
    assert main([str(run.folder), "1", str(tmp_path / "set"), "--synthetic"]) == 0
    read = {}
    for name, found in (("model", "network"), ("set", "images")):
        readme = (tmp_path / name / "README.md").read_text()
        monkeypatch.chdir(tmp_path / name)
        exec(readme.split("```python\n")[1].split("```")[0], read)
        assert found in read
    images = read["images"]
    assert images.dtype == torch.float16
    assert images.shape == (120, 28, 28)
    with torch.inference_mode():
        decoded = read["network"].decoder(torch.zeros(1, 3))
    assert decoded.isfinite().all()


def test_fitted_parameters_are_those_of_the_generation(train, tmp_path, capsys):
    run = train(*GAUSSIAN)
    assert main([str(run.folder), "2", str(tmp_path / "two")]) == 0
    (segment,) = [path for path in (tmp_path / "store" / "model").iterdir() if "generations 1" in _label(path)]
    states, state = load_file(segment / "states.safetensors"), load_file(tmp_path / "two" / "state.safetensors")
    assert state.keys() == states.keys()
    assert all(torch.equal(state[name], states[name][1]) for name in states)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["README.md", "state.safetensors"]
    capsys.readouterr()
    refusal = refused(capsys, run.folder, 2, tmp_path / "set", "--synthetic")
    assert "generation 2 stores no synthetic set: it is drawn from the model again" in refusal
    assert "there is no generation 9; it has finished 0 to 3" in refused(capsys, run.folder, 9, tmp_path / "nine")
    assert "is no run folder" in refused(capsys, tmp_path, 2, tmp_path / "set")
    assert f"runs below it: {run.folder}" in refused(capsys, tmp_path, 2, tmp_path / "set")
    shutil.rmtree(tmp_path / "store")
    assert "there is no store; name it with --store PATH" in refused(capsys, run.folder, 2, tmp_path / "set")


def _label(folder):
    return Manifest.read(folder).label


def test_the_readme_says_where_the_weights_come_from(finished_chain, store, tmp_path):
    key = keys(finished_chain, 1)["model"]
    by_key(key, tmp_path / "out", store)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    _, manifest = Store(store).find(key)
    assert key in card
    assert "# generation 1 · fit" in card
    for role, parent in manifest.parents.items():
        assert f"| {role} | `{parent}` |" in card
    for library, version in manifest.versions.items():
        assert f"| {library} | {version} |" in card
    recipe = card.split("```json\n")[1].split("```")[0]
    assert json.loads(recipe) == manifest.recipe


def test_the_command_finds_the_store_by_the_run_and_imports_nothing_heavy(finished_chain, store, tmp_path):
    key = keys(finished_chain, 0)["model"]
    program = (
        "import sys, modelcollapse.commands.export as e; code = e.main(); print('torch' in sys.modules); sys.exit(code)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(finished_chain[0].folder), "0", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"generation 0 · fit (model {key}) is in out\nFalse\n"
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_folder_in_use_is_left_as_it_is(finished_chain, store, tmp_path, capsys):
    asked = (finished_chain[0].folder, 0)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "is not empty" in refused(capsys, *asked, tmp_path / "used", "--store", store)
    assert "is a file" in refused(capsys, *asked, tmp_path / "used" / "mine.txt", "--store", store)
    assert "is a link" in refused(capsys, *asked, tmp_path / "link", "--store", store)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "mine.txt", "used"]
    (tmp_path / "empty").mkdir()
    assert main([*map(str, asked), str(tmp_path / "empty"), "--store", str(store)]) == 0
    assert (tmp_path / "empty" / "config.json").is_file()


def test_what_a_killed_export_began_is_cleared_away_by_the_next(finished_chain, store, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    begun = tmp_path / f".weights.{os.uname().nodename}-{process.pid}"
    begun.mkdir()
    (begun / "model.safetensors").write_bytes(b"half")
    assert by_key(keys(finished_chain, 1)["model"], tmp_path / "weights", store) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_keys_that_name_no_artifact_or_several(finished_chain, store, tmp_path, capsys):
    def refusal(key, place=store):
        arguments = ("export", key, tmp_path / "out", "--store", place)
        return refused(capsys, *arguments, command=store_command.main)

    synthetic = keys(finished_chain, 0)["synthetic"]
    assert "no artifact" in refusal("no-such-key")
    ambiguous = refusal("")
    assert "have keys that begin with ''" in ambiguous
    assert synthetic in ambiguous
    assert "there is no store" in refusal(synthetic, tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_altered_bytes_are_not_handed_on(finished_chain, tmp_path, capsys, name):
    store = shutil.copytree(finished_chain[1], tmp_path / "store")
    asked = (finished_chain[0].folder, 1, tmp_path / "out", "--store", store)
    damaged = store / "model" / keys(finished_chain, 1)["model"] / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert f"{name} was altered" in refused(capsys, *asked)
    damaged.unlink()
    assert f"{name} is missing" in refused(capsys, *asked)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_nothing_outside_is_read_or_written(finished_chain, tmp_path, capsys):
    """A store from elsewhere: a manifest that names a file beyond its folder, and a link in the place of a file."""
    store = shutil.copytree(finished_chain[1], tmp_path / "store")
    asked = (finished_chain[0].folder, 1, tmp_path / "out", "--store", store)
    folder = store / "model" / keys(finished_chain, 1)["model"]
    secret = tmp_path / "secret"
    secret.write_text("mine")
    original = (folder / "manifest.json").read_text()
    for name in ("../../../secret", str(secret), "a/../../secret"):
        fields = json.loads(original)
        del fields["checksum"]
        fields["files"][name] = {"bytes": 4, "sha256": sha256(b"mine").hexdigest()}
        (folder / "manifest.json").write_text(json.dumps({**fields, "checksum": sha256_of_json(fields)}))
        assert "names a file that is not in its folder" in refused(capsys, *asked)
    (folder / "manifest.json").write_text(original)
    (folder / "config.json").rename(tmp_path / "config.json")
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    assert "is neither a file nor a folder" in refused(capsys, *asked)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "secret", "store"]


def test_weights_that_were_not_kept_say_how_to_get_them(train, tiny, tmp_path, capsys):
    ends = train(*tiny, "store.keep=ends")
    message = refused(capsys, ends.folder, 1, tmp_path / "out")
    assert ends.lines("provenance.jsonl")[1]["model"] in message
    assert "store.keep=ends kept those of the first and the last generation only" in message
    assert "the run's command with store.keep=all makes it again, which took" in message
    again = train(*tiny, "store.keep=all")
    assert main([str(again.folder), "1", str(tmp_path / "out")]) == 0


def test_pretrained_weights_bring_the_tokenizer_of_the_chain_that_took_them_in(chain, small_opt_words, texts, tmp_path):
    base = chain(*small_opt_words, "generations=0", store=tmp_path / "base-store")
    key = next(manifest.key for manifest in base.store.artifacts() if manifest.kind == "base")
    assert by_key(key, tmp_path / "base", base.store.root) == 0
    words = [word for word in small_opt_words if not word.startswith("model")]
    taken = ["model=opt_125m", f"model.pretrained={tmp_path / 'base'}", "model.training.generation0_epochs=1"]
    pretrained = chain(*words, *taken, "generations=0", execute=False).family.pretrained()
    started = chain(*words, *taken, "generations=0")
    assert by_key(pretrained.key, tmp_path / "out", started.store.root) == 0
    assert same_network(tmp_path / "out", tmp_path / "base")
    tokenizers = [AutoTokenizer.from_pretrained(tmp_path / name) for name in ("base", "out")]
    assert tokenizers[0]("a girl walked")["input_ids"] == tokenizers[1]("a girl walked")["input_ids"]
