"""Chains on real text whose sure tokens are drawn anew: what is edited, trained on, recorded, and killed."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TINY, run_chain_of
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.blocks import read_blocks
from modelcollapse.edits.applying import Edited, edited
from modelcollapse.edits.token_resampling import TokenResampling
from modelcollapse.errors import UserError
from modelcollapse.families.language_model.module import token_losses
from modelcollapse.families.language_model.network import load_network
from modelcollapse.registry import Choice, Member, register
from modelcollapse.settings import FILES, SettingsError, file_settings, may_differ
from processes import fork_server
from test_kills import RECORDED, Moment, Runner

ABOVE = 0.0025
"""A fifth of the tokens are more probable: the tiny model hardly knows more than how many words there are."""
WORDS = (*TINY, "editing=token_resampling", f"editing.above={ABOVE}", "editing.top_k=0")


@pytest.fixture(scope="module")
def chain_of_edits(tmp_path_factory):
    place = tmp_path_factory.mktemp("edits")
    return run_chain_of(WORDS, place / "store", place / "run")


def text(run, generation):
    """The blocks that generation wrote, or the real ones for -1."""
    if generation < 0:
        return read_blocks(run.store.folder(run.family.inputs()["real"]), "train")
    return read_blocks(run.store.folder(run.generations()[generation].artifacts["synthetic"]), "blocks")


# ---- the edit itself ------------------------------------------------------------------------------------------


def test_tokens_that_are_sure_are_drawn_from_the_prior_and_no_others():
    rows, vocabulary = 20_000, 4
    probabilities = torch.tensor([0.7, 0.2, 0.06, 0.04])
    logits = probabilities.log().expand(rows, 2, vocabulary) + 3.0
    tokens = torch.tensor([[3, 0, 1]], dtype=torch.int32).repeat(rows, 1)
    chance = torch.rand(rows, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = TokenResampling(0.6, 0, "latest")(tokens, logits=logits, chance=chance)
    assert found.rows.dtype == tokens.dtype
    assert found.is_edited.tolist() == [[False, True, False]] * rows
    assert (found.rows[:, [0, 2]] == tokens[:, [0, 2]]).all()
    shares = found.rows[:, 1].long().bincount(minlength=vocabulary).double() / rows
    assert ((shares - probabilities).abs() < 4 * (probabilities * (1 - probabilities) / rows).sqrt()).all()
    of_two = TokenResampling(0.6, 2, "latest")(tokens, logits=logits, chance=chance).rows[:, 1]
    assert set(of_two.tolist()) == {0, 1}
    assert float((of_two == 0).double().mean()) == pytest.approx(7 / 9, abs=0.02)
    assert not TokenResampling(0.7001, 0, "latest")(tokens, logits=logits, chance=chance).is_edited.any()


def test_what_an_edit_gives_back_is_looked_at():
    register(Member("edits", "broken", lambda rows: rows[:1], options={"of": "tokens"}, origin="test"))
    with pytest.raises(UserError, match=r"editing.name: 'broken' must return rows as it is given, \[2, 3\]"):
        edited(Choice("edits", "broken"), torch.zeros(2, 3))
    register(Member("edits", "adding", lambda rows: rows + torch.tensor([0, 1]), options={"of": "tokens"}, origin="x"))
    found = edited(Choice("edits", "adding"), torch.zeros(2, 2))
    assert isinstance(found, Edited)
    assert found.is_edited.tolist() == [[False, True]] * 2


# ---- chains ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [0, 1])
def test_each_model_edits_what_the_one_before_has_edited(chain_of_edits, generation):
    before, after = text(chain_of_edits, generation - 1), text(chain_of_edits, generation)
    model = chain_of_edits.generations()[generation].artifacts["model"]
    network = load_network(chain_of_edits.store.folder(model)).eval()
    with torch.no_grad():
        probabilities = (-token_losses(network, before)).exp()
    is_sure = probabilities > ABOVE
    assert 0 < is_sure.double().mean() < 1
    changed = before != after
    assert not changed[:, 0].any()
    assert not (changed[:, 1:] & ~is_sure).any(), "only sure tokens are drawn anew"
    line = chain_of_edits.lines()[generation]
    assert line["editing/edited_share"] == pytest.approx(float(is_sure.double().sum() / changed.numel()))
    assert line["editing/changed_share"] == pytest.approx(float(changed.double().mean()))
    since_real = (text(chain_of_edits, -1) != after).double().mean()
    assert line["editing/changed_since_real"] == pytest.approx(float(since_real))


def test_the_edited_text_stands_where_a_synthetic_set_would(chain_of_edits):
    first, second, _ = (generation.artifacts for generation in chain_of_edits.generations())
    assert first["synthetic"].kind == "edited"
    assert second["model"].parents["synthetic_0"] == first["synthetic"]
    assert second["synthetic"].parents["text"] == first["synthetic"]
    assert second["measures"].parents["synthetic"] == second["synthetic"]
    assert second["synthetic"].parents["prior"] == second["model"]
    assert "generation 0 · synthesis" not in chain_of_edits.computed()


def test_the_prior_can_be_generation_0s_model_throughout(chain):
    second = chain(*WORDS, "editing.prior=generation0", execute=False).generations()[1].artifacts
    assert second["synthetic"].parents["prior"] == second["measures"].parents["reference"]


# ---- a model from a folder ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(chain_of_edits, tmp_path_factory):
    """The model of generation 0 as a folder of its own."""
    from modelcollapse.commands.export import export_artifact

    folder = tmp_path_factory.mktemp("prior") / "model"
    export_artifact(chain_of_edits.store, chain_of_edits.generations()[0].artifacts["model"].key, folder, 0)
    return folder


def of_folder(folder):
    return (*WORDS, "generations=1", "editing.prior=folder", f"editing.folder={folder}")


def test_the_prior_can_be_a_model_of_a_folder_which_stands_in_keys_by_its_content(
    chain_of_edits, exported, chain, tmp_path
):
    store = chain_of_edits.store.root
    by_folder = chain(*of_folder(exported), store=store)
    by_reference = chain(*WORDS, "generations=1", "editing.prior=generation0", store=store)
    assert by_folder.computed()[0] == "weights of the prior"
    for generation in (0, 1):
        assert torch.equal(text(by_folder, generation), text(by_reference, generation))
    first, copied = by_folder.generations()[0].artifacts["synthetic"], tmp_path / "elsewhere"
    assert first != by_reference.generations()[0].artifacts["synthetic"]
    shutil.copytree(exported, copied)
    elsewhere = chain(*of_folder(copied), execute=False).generations()
    assert elsewhere[0].artifacts["synthetic"] == first
    # Of another folder everything else is the same.
    (copied / "README.md").write_text("another model")
    other = chain(*of_folder(copied), execute=False).generations()
    assert other[0].artifacts["synthetic"] != first
    assert other[0].artifacts["model"] == elsewhere[0].artifacts["model"]


def as_other_tokens(folder):
    """Two words change their numbers."""
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    words = described["model"]["vocab"]
    (first, one), (second, two) = list(words.items())[:2]
    words[first], words[second] = two, one
    path.write_text(json.dumps(described))


def as_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_infinite(folder):
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values()))[0] = torch.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            as_other_tokens,
            "editing.folder: its tokenizer has other tokens, or numbers them otherwise, than the chain's",
        ),
        (as_pickle, "pytorch_model.bin is no safetensors file, which the weights of editing.folder must be"),
        (as_infinite, "weights are infinite or no numbers"),
        (shutil.rmtree, "there is no such folder"),
    ],
)
def test_a_folder_that_cannot_edit_the_text_is_refused_before_any_fit(exported, chain, tmp_path, change, expected):
    folder = shutil.copytree(exported, tmp_path / "prior")
    change(folder)
    with pytest.raises((UserError, SettingsError)) as caught:
        chain(*of_folder(folder), store=tmp_path / "store")
    (message,) = str(caught.value).splitlines()[-1:]
    assert expected in message
    assert not list((tmp_path / "store").glob("model/*"))


def test_a_bundle_names_no_folder_and_a_replay_may_give_another(compose_values, exported):
    settings = read_chain_settings(compose_values(*of_folder(exported)))
    assert ("editing.folder", str(exported), FILES) in list(file_settings(settings))
    assert may_differ(settings, "editing.folder")
    assert not may_differ(settings, "editing.above")


def test_fits_are_shared_where_nothing_is_edited_yet(chain_of_edits, chain):
    plain = chain(*TINY, execute=False).generations()
    none = chain(*TINY, "editing=none", execute=False).generations()
    assert [each.artifacts for each in plain] == [each.artifacts for each in none]
    edits = chain_of_edits.generations()
    assert edits[0].artifacts["model"] == plain[0].artifacts["model"]
    assert edits[1].artifacts["model"] != plain[1].artifacts["model"]


def test_it_is_exported_as_text(chain_of_edits, tmp_path):
    import pandas

    from modelcollapse.commands.export import export_artifact

    last = chain_of_edits.generations()[-1].artifacts["synthetic"]
    export_artifact(chain_of_edits.store, last.key, tmp_path / "exported", 2)
    rows = pandas.read_parquet(tmp_path / "exported" / "synthetic.parquet")
    assert torch.equal(torch.tensor(np.stack(rows["tokens"])), text(chain_of_edits, 2).long())


def test_the_plan_lists_the_edit(train):
    finished = train(*WORDS, "plan=true")
    assert finished.code == 0
    assert "generation 1 · editing" in finished.out


@pytest.mark.parametrize("event", ["forward", "rename"])
def test_an_edit_that_is_killed_is_done_again_to_the_bit(tmp_path, chain_of_edits, chain, event):
    runner = Runner(fork_server(), tmp_path, WORDS)
    artifact = chain_of_edits.generations()[1].artifacts["synthetic"]
    there = f"{artifact.kind}/.{artifact.key}.*" + ("/manifest.json" if event == "rename" else "")
    code, log = runner.finish(Moment(event, there))
    assert code == -signal.SIGKILL, log
    assert not (runner.store / artifact.kind / artifact.key).exists()
    resumed = chain(*WORDS, store=runner.store)
    assert artifact.label in resumed.computed()
    for file in RECORDED:
        assert resumed.bytes(file) == chain_of_edits.bytes(file), file


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("selection=random", "decoding.kind=sample", "decoding.beams=1"),
            "editing.name: 'token_resampling' writes nothing that could be selected; choose selection=none",
        ),
        (("editing.prior=pretrained",), "editing.prior: 'pretrained' needs model.pretrained=PATH_OR_ID or"),
        (
            ("population.models=2",),
            "population.models: 2 members are not allowed with editing=token_resampling; choose",
        ),
        (("editing.prior=folder",), "editing.folder: is null, and editing.prior=folder takes the probabilities"),
        (("editing.folder=model",), "editing.folder: is of no use with editing.prior=latest; it must be null, or"),
        (("editing.above=1.5",), "editing.above: 1.5 is not allowed"),
    ],
)
def test_what_is_refused_is_one_message(compose_values, words, expected):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*WORDS, *words))
    (problem,) = caught.value.problems
    assert problem.startswith(expected)
