"""Chains whose weights are merged after each fit: what is used, kept and exported, and gone on with after a kill."""

import signal

import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY, TINY_VAE, run_chain_of
from modelcollapse.families.language_model.network import load_network
from modelcollapse.families.vae.recipes import NETWORK_FILE
from modelcollapse.registry import Member, register
from processes import fork_server
from test_kills import RECORDED, Moment, Runner

WORDS = (*TINY, "model.init=previous", "merge=negative_extrapolation", "merge.weight=0.5")


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    place = tmp_path_factory.mktemp("merged")
    return run_chain_of((*WORDS, "store.keep=ends"), place / "store", place / "run")


def weights(run, artifact):
    network = load_network(run.store.folder(artifact))
    return {name: weight.detach() for name, weight in network.named_parameters()}


def test_the_model_is_the_formula_of_the_fitted_one_and_generation_0s(merged):
    first, _, last = merged.generations()
    reference, fitted, found = (
        weights(merged, artifact)
        for artifact in (first.artifacts["model"], last.artifacts["fitted"], last.artifacts["model"])
    )
    assert "fitted" not in first.artifacts
    for name, weight in found.items():
        assert torch.equal(weight, 1.5 * reference[name] - 0.5 * fitted[name]), name
    assert any(not torch.equal(found[name], fitted[name]) for name in found)


def test_the_merged_model_writes_is_scored_and_is_started_from(merged):
    _, second, last = (generation.artifacts for generation in merged.generations())
    assert last["fitted"].parents["initial"] == second["model"]
    assert last["fitted"].parents["synthetic_1"].parents["model"] == second["model"]
    assert last["scores"].parents["model"] == last["continuations"].parents["model"] == last["model"]
    assert last["measures"].parents["reference"] == merged.generations()[0].artifacts["model"]


def test_the_record_names_both_and_still_shows_the_fit(merged):
    provenance = merged.lines("provenance.jsonl")[-1]
    last = merged.generations()[-1].artifacts
    assert (provenance["fitted"], provenance["model"]) == (last["fitted"].key, last["model"].key)
    epochs = [line for line in merged.lines("training.jsonl") if line["generation"] == 2]
    assert [line["epoch"] for line in epochs] == [0, 1]


def test_only_the_ends_weights_are_kept(merged):
    kept = [
        {role for role in ("fitted", "model") if role in each.artifacts and merged.store.has(each.artifacts[role])}
        for each in merged.generations()
    ]
    assert kept == [{"model"}, set(), {"fitted", "model"}]


def test_fits_and_keys_without_a_merge_are_shared(merged, chain):
    plain, none = (
        chain(*TINY, "model.init=previous", *words, execute=False).generations() for words in ((), ("merge=none",))
    )
    assert [each.artifacts for each in plain] == [each.artifacts for each in none]
    ours = merged.generations()
    assert ours[0].artifacts == plain[0].artifacts
    assert ours[1].artifacts["fitted"] == plain[1].artifacts["model"]
    assert ours[2].artifacts["fitted"] != plain[2].artifacts["model"]


def test_it_is_exported_and_loaded_as_any_model(merged, tmp_path):
    from modelcollapse.commands.export import export_artifact

    last = merged.generations()[-1].artifacts["model"]
    export_artifact(merged.store, last.key, tmp_path / "exported", 2)
    folders = {"model": merged.store.folder(last)}
    exported, loaded = load_network(tmp_path / "exported"), merged.family.load_model(2, folders)
    assert all(torch.equal(*pair) for pair in zip(exported.parameters(), loaded.parameters(), strict=True))
    assert not (tmp_path / "exported" / "training.jsonl").exists()


def test_the_plan_lists_the_merge(train):
    finished = train(*WORDS, "plan=true")
    assert finished.code == 0
    assert "generation 2 · merging" in finished.out


def test_a_merge_that_is_killed_is_done_again_to_the_bit(tmp_path, merged, chain):
    runner = Runner(fork_server(), tmp_path, (*WORDS, "store.keep=ends"))
    artifact = merged.generations()[1].artifacts["model"]
    code, log = runner.finish(Moment("rename", f"{artifact.kind}/.{artifact.key}.*/manifest.json"))
    assert code == -signal.SIGKILL, log
    assert not (runner.store / artifact.kind / artifact.key).exists()
    resumed = chain(*WORDS, "store.keep=ends", store=runner.store)
    assert artifact.label in resumed.computed()
    assert "generation 1 · fit" not in resumed.computed()
    for file in RECORDED:
        assert resumed.bytes(file) == merged.bytes(file), file


class Jittered:
    """The mean of this generation and the one before, and noise."""

    def __call__(self, fitted, *, previous, stream):
        noise = torch.rand(1, generator=stream.torch())
        return {name: (weight + previous[name]) / 2 + noise for name, weight in fitted.items()}


def test_a_merge_from_outside_is_given_what_it_needs(chain):
    register(Member("merges", "jittered", Jittered, options={"needs": ("previous", "stream")}, origin="test"))
    run = chain(*TINY_VAE, "merge.name=jittered")
    first, last = (each.artifacts for each in run.generations())
    assert set(last["model"].parents) == {"fitted", "previous"}
    assert last["model"].recipe["merge"]["digest"]
    before, fitted, found = (
        load_file(run.store.folder(artifact) / NETWORK_FILE)
        for artifact in (first["model"], last["fitted"], last["model"])
    )
    noise = {name: found[name] - (fitted[name] + before[name]) / 2 for name in found}
    values = torch.cat([each.flatten() for each in noise.values()])
    assert float(values.min()) == pytest.approx(float(values.max()), abs=1e-5)
    assert 0 < float(values.mean()) < 1
    # What is drawn is drawn from the merged decoder.
    assert last["synthetic"].parents["model"] == last["model"]
