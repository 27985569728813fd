"""Chains end to end: what a run leaves, what is shared, what is not done twice, and every regime."""

import json
from collections import Counter

import pandas as pd
import pytest
import torch
import yaml

from conftest import DETERMINISTIC
from modelcollapse.chain import chain_id
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.data.blocks import block_count, read_blocks
from modelcollapse.families.language_model.generating import prompt_blocks
from modelcollapse.families.language_model.training_set import composed_blocks
from modelcollapse.record.run_tables import results
from modelcollapse.regimes import compose, golden_ratio_weight, with_history
from modelcollapse.settings import SettingsError
from modelcollapse.store import BuildContext, Store

N = 60
"""Blocks of the real training split in the tiny chain."""
REGIMES = sorted(path.stem for path in (configuration_folder() / "regime").glob("*.yaml"))


def manifests(store):
    """Every finished artifact of the store, counted by what it is."""
    return Counter(manifest.label for manifest in Store(store).artifacts())


# ---- one run and its folder -----------------------------------------------------------------------------------


def test_the_run_succeeds_and_says_what_it_did(finished_chain):
    finished, store, _ = finished_chain
    assert finished.code == 0
    assert finished.err == ""
    assert "0 of 15 results already in" in finished.out
    for number in range(3):
        assert f"generation {number}  perplexity (real test) " in finished.out
    assert f"record  {finished.folder.name}" in finished.out
    assert "next    python train.py" in finished.out
    assert "regime=preserve" in finished.out
    assert manifests(store)["generation 2 · fit"] == 1


def test_the_lines_of_the_generations(finished_chain):
    finished, _, _ = finished_chain
    lines = finished.lines()
    assert [line["generation"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert line["seed"] == 0
        assert line["regime"] == "replace"
        expected = {f"synthetic/reference_perplexity/{name}" for name in ("mean", "median", "p01", "p05", "p95", "p99")}
        expected |= {f"synthetic/distinct_{n}" for n in (1, 2, 3)}
        expected |= {f"{split}/{name}" for split in ("validation", "test") for name in ("perplexity", "bits_per_byte")}
        expected |= {"synthetic/vocabulary_kept", "synthetic/true_nll", "true/kl", "true/perplexity"}
        assert expected <= set(line)
        assert not [name for name in line if "second" in name or "time" in name]


def test_the_other_files_of_the_run_folder(finished_chain):
    finished, _, _ = finished_chain
    folder = finished.folder
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["architecture"]["hidden_size"] == 16
    assert config["regime"]["name"] == "replace"
    assert json.loads((folder / "chain.json").read_text())["status"] == "finished"
    timings = finished.lines("timings.jsonl")
    assert {(line["generation"], line["stage"]) for line in timings} >= {
        (generation, stage) for generation in range(3) for stage in ("model", "synthetic", "scores", "measures")
    }
    assert all(line["computed"] and line["seconds"] > 0 for line in timings)
    assert all(line["tokens_per_second"] > 0 for line in timings if line["stage"] in ("model", "synthetic"))
    epochs = [(line["generation"], line["epoch"]) for line in finished.lines("training.jsonl")]
    assert epochs == [(generation, epoch) for generation in range(3) for epoch in range(2)]
    text = (folder / "continuations.md").read_text()
    for number in range(3):
        assert f"Generation {number}" in text


def test_a_row_of_the_table_of_perplexities_is_a_sequence(finished_chain):
    finished, _, _ = finished_chain
    table = pd.read_parquet(finished.folder / "perplexities.parquet")
    counts = table.groupby("generation").size()
    assert [counts[number] for number in range(3)] == [N, N, N]
    line = finished.lines()[1]
    mean = table.loc[table["generation"] == 1, "reference_perplexity"].mean()
    assert mean == pytest.approx(line["synthetic/reference_perplexity/mean"], rel=1e-6)


def test_figures_are_there_as_picture_and_for_print(finished_chain):
    finished, _, _ = finished_chain
    pictures = sorted((finished.folder / "figures").glob("*.png"))
    assert {path.stem for path in pictures} >= {
        "perplexity_by_generation",
        "reference_perplexity_histograms",
        "reference_perplexity_histograms_3d",
        "continuations",
    }
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 5000
        assert picture.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert str(picture.relative_to(finished.folder.parent)) in finished.out


def test_the_run_is_read_back_as_a_table(finished_chain):
    finished, _, _ = finished_chain
    table = results(finished.folder)
    assert list(table["generation"]) == [0, 1, 2]
    assert list(table["test/perplexity"]) == [line["test/perplexity"] for line in finished.lines()]


def test_a_run_without_words_of_its_own_goes_where_it_is_typed(tiny, tmp_path):
    from conftest import run_command

    finished = run_command([*tiny, "generations=0"], tmp_path, tmp_path)
    assert finished.code == 0
    (lines,) = tmp_path.glob("outputs/*/*/generations.jsonl")
    assert len(lines.read_text().splitlines()) == 1
    assert (tmp_path / "store" / "model").is_dir()


# ---- nothing is done twice ------------------------------------------------------------------------------------


def test_the_same_command_again_computes_nothing_says_so_and_leaves_the_same_bytes(finished_chain, train):
    first, store, overrides = finished_chain
    before = manifests(store)
    again = train(*overrides[:-2], store=store)
    assert again.code == 0
    assert "nothing to compute: all 15 results" in again.out
    assert "nothing was computed" in again.out
    assert again.out.count("from the store") == 3
    assert manifests(store) == before
    assert not any(line["computed"] for line in again.lines("timings.jsonl"))
    for name in DETERMINISTIC:
        assert again.bytes(name) == first.bytes(name), name


def test_a_run_says_where_weights_and_biases_shows_it(finished_chain, train, monkeypatch):
    _, store, overrides = finished_chain
    monkeypatch.setenv("WANDB_MODE", "offline")
    shown = train(*(word for word in overrides[:-2] if word != "tracking=none"), "tracking=wandb", store=store)
    assert shown.code == 0
    assert "W&B: offline (WANDB_MODE" in shown.out
    assert list((shown.folder / "wandb").glob("offline-run-*"))


def test_another_store_gives_the_same_bytes(finished_chain, train, tiny):
    first, _, _ = finished_chain
    again = train(*tiny)
    for name in DETERMINISTIC:
        assert again.bytes(name) == first.bytes(name), name


def test_a_lengthened_chain_computes_its_new_generations_only(chain, tiny):
    short = chain(*tiny, "generations=1")
    long = chain(*tiny, "generations=3")
    assert {label.split(" · ")[0] for label in long.computed()} == {"generation 2", "generation 3"}
    assert long.bytes().startswith(short.bytes())
    assert len(long.lines()) == 4
    assert chain(*tiny, "generations=3", store=long.folder.parent / "other").bytes() == long.bytes()


def test_a_shortened_chain_computes_nothing(chain, tiny):
    chain(*tiny, "generations=1")
    assert chain(*tiny, "generations=0").computed() == []


def test_generation_0_is_the_same_model_in_all_regimes(chain, tiny, compose_values):
    keys = set()
    for regime in REGIMES:
        declared = chain(*tiny, "decoding.kind=sample", "decoding.beams=1", f"regime={regime}", execute=False)
        keys.add(declared.generations()[0].artifacts["model"].key)
    assert len(keys) == 1


def test_regimes_that_compose_the_same_set_share_the_model(chain, tiny):
    def models(*overrides):
        return [g.artifacts["model"].key for g in chain(*tiny, *overrides, execute=False).generations()]

    accumulate, augment = models("regime=accumulate"), models("regime=augment")
    assert accumulate[:2] == augment[:2]
    assert accumulate[2] != augment[2]
    assert models("regime=preserve", "regime.real=0.0") == models("regime=replace")
    assert models("regime=accumulate", "regime.window=1") == augment


@pytest.mark.parametrize(
    ("word", "first_new"),
    [
        ("seed=1", "model"),
        ("model.training.learning_rate=0.001", "model"),
        ("model.training.batch_size=30", "model"),
        ("model.architecture.dropout=0.2", "model"),
        ("trainer.precision=bf16-mixed", "model"),
        ("data.seed=1", "model"),
        ("decoding.repetition_penalty=2.0", "synthetic"),
        ("decoding.beams=3", "synthetic"),
        ("decoding.prompt_tokens=4", "synthetic"),
        ("decoding.shown_prompts=2", "continuations"),
        ("decoding.temperature=0.5", None),
        ("decoding.batch_size=7", None),
        ("trainer.scoring_batch_size=7", None),
        ("trainer.threads=2", None),
        ("trainer.devices=2", None),
        ("model.name=another", None),
        ("tracking.project=another", None),
        ("regime.name=another", None),
    ],
)
def test_a_key_changes_with_what_decides_the_content_and_nothing_else(chain, tiny, word, first_new):
    artifacts = chain(*tiny, execute=False).generations()[0].artifacts
    changed = chain(*tiny, word, execute=False).generations()[0].artifacts
    different = {role for role in artifacts if artifacts[role].key != changed[role].key}
    expected = {
        "model": {"model", "synthetic", "scores", "measures", "continuations"},
        "synthetic": {"synthetic", "measures", "continuations"},
        "continuations": {"continuations"},
        None: set(),
    }
    assert different == expected[first_new]


def test_a_penalty_sweep_fits_generation_0_once(train, tiny, tmp_path):
    finished = train("--multirun", *tiny, "generations=1", "decoding.repetition_penalty=1.0,2.0")
    assert finished.code == 0
    made = manifests(tmp_path / "store")
    assert made["generation 0 · fit"] == 1
    assert made["generation 0 · scoring"] == 1
    assert made["generation 0 · synthesis"] == 2
    assert made["generation 1 · fit"] == 2
    first, second = (results(finished.folder / job) for job in ("0", "1"))
    assert first["test/perplexity"][0] == second["test/perplexity"][0]
    assert first["test/perplexity"][1] != second["test/perplexity"][1]
    timings = (finished.folder / "1" / "timings.jsonl").read_text().splitlines()
    fit = next(line for line in map(json.loads, timings) if line["generation"] == 0 and line["stage"] == "model")
    assert fit["computed"] is False


def test_sweep_runs_its_grid(train, tiny, tmp_path):
    finished = train(*tiny, "generations=0", "seed=3,4", configuration="sweep")
    assert finished.code == 0
    assert sorted(results(finished.folder)["seed"]) == [3, 4]
    assert manifests(tmp_path / "store")["real data"] == 1


# ---- the plan ---------------------------------------------------------------------------------------------------


def test_a_plan_computes_and_writes_nothing_and_names_the_keys_of_the_run(train, tiny, tmp_path):
    plan = train(*tiny, "plan=true")
    assert plan.code == 0
    assert list(tmp_path.iterdir()) == []
    assert "17 artifacts to compute, nothing computed now" in plan.out
    run = train(*tiny)
    keys = {manifest.key for manifest in Store(tmp_path / "store").artifacts()}
    assert len(keys) == 17
    assert all(key[:12] in plan.out for key in keys)
    after = train(*tiny, "plan=true", "generations=3")
    assert not after.folder.exists()
    assert all(f"/{key}" in after.out for key in keys)
    assert "5 artifacts to compute" in after.out
    assert run.code == 0


def test_a_plan_says_what_disk_it_takes(train, small_opt_words):
    """Four networks, the base and three generations, of 300,000 x 16 weights and a few more, four bytes each."""
    plan = train(*small_opt_words, "plan=true", "model.tokenizer.vocabulary_size=300000")
    assert "about 19.2 MB" in plan.out
    assert "disk: about 76.9 MB more" in plan.out


# ---- what is kept -----------------------------------------------------------------------------------------------


def models_kept(run):
    return [run.store.has(generation.artifacts["model"]) for generation in run.generations()]


@pytest.mark.parametrize("init", ["fresh", "previous", "generation0"])
def test_keeping_the_ends_leaves_first_and_last_weights_and_the_same_record(chain, tiny, tmp_path, init):
    overrides = (*tiny, f"model.init={init}")
    everything = chain(*overrides, "generations=4", store=tmp_path / "all")
    ends = chain(*overrides, "generations=3", "store.keep=ends")
    assert models_kept(everything) == [True] * 5
    assert models_kept(ends) == [True, False, False, True]
    again = chain(*overrides, "generations=3", "store.keep=ends")
    assert again.computed() == []
    assert again.bytes() == ends.bytes()
    assert again.bytes("training.jsonl") == ends.bytes("training.jsonl")
    longer = chain(*overrides, "generations=4", "store.keep=ends")
    assert {label.split(" · ")[0] for label in longer.computed()} == {"generation 4"}
    assert longer.bytes() == everything.bytes()
    # Generation 3 is the end of the shorter run, whose weights no other run removes.
    assert models_kept(longer) == [True, False, False, True, True]


def test_weights_that_were_removed_come_back_where_they_are_wanted_again(chain, tiny):
    chain(*tiny, "generations=3", "store.keep=ends")
    everything = chain(*tiny, "generations=3")
    assert everything.computed() == ["generation 1 · fit", "generation 2 · fit"]
    assert models_kept(everything) == [True] * 4


def test_no_optimiser_state_and_nothing_half_done_is_left(finished_chain):
    _, store, _ = finished_chain
    files = [path for path in store.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".ckpt", ".bin", ".pt", ".pth", ".pkl")]
    assert not list((store / "progress").glob("*"))
    assert not list(store.glob("*/.*"))
    (weights,) = {path.stat().st_size for path in store.glob("model/*/model.safetensors")}
    assert weights < 50_000


# ---- regimes ----------------------------------------------------------------------------------------------------

SIZES = {
    "real": (N, N),
    "replace": (N, N),
    "preserve": (N, N),
    "fresh": (N, N),
    "older": (N, N),
    "general": (N, N),
    "accumulate_subsample": (N, N),
    "grown_replace": (N, 2 * N),
    "accumulate": (2 * N, 3 * N),
    "augment": (2 * N, 2 * N),
    "golden_ratio": (2 * N, 2 * N),
}
"""Rows of D_1 and D_2 (experiments.md, 6)."""


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_trains_on_a_set_of_its_size(chain, tiny, regime):
    overrides = (*tiny, "decoding.kind=sample", "decoding.beams=1", "decoding.prompt_tokens=3", f"regime={regime}")
    run = chain(*overrides)
    sizes, draws = [], ()
    for generation in run.generations():
        model = generation.artifacts["model"]
        folders = {role: run.store.folder(parent) for role, parent in model.parents.items()}
        draws = with_history(compose(run.settings.regime, generation.number, run.settings.seed), draws)
        blocks, weights = composed_blocks(draws, folders, N)
        sizes.append(len(blocks))
        assert weights.mean().item() == pytest.approx(1)
        steps = [line["step"] for line in run.lines("training.jsonl") if line["generation"] == generation.number]
        batches = -(-len(blocks) // run.settings.model.training.batch_size)
        assert steps == [batches, 2 * batches]
        _check_members(regime, generation, run, blocks, weights)
    assert sizes == [N, *SIZES[regime]]
    assert [line["regime"] for line in run.lines()] == [regime] * 3


def _check_members(regime, generation, run, blocks, weights):
    """What the regime forbids or demands of the rows themselves."""
    real = read_blocks(run.store.folder(run.family.inputs()["real"]), "train")
    real_rows = {tuple(row) for row in real.tolist()}
    from_real = [tuple(row) in real_rows for row in blocks.tolist()]
    if generation.number == 0 or regime == "real":
        assert blocks.tolist() == real.tolist()
    elif regime in ("replace", "grown_replace"):
        latest = run.generations()[generation.number - 1].artifacts["synthetic"]
        assert blocks.tolist() == read_blocks(run.store.folder(latest), "blocks").tolist()
    elif regime in ("preserve", "older", "general"):
        assert sum(from_real) >= 6
        assert not all(from_real)
    elif regime in ("accumulate", "augment"):
        assert blocks[:N].tolist() == real.tolist()
    elif regime == "golden_ratio":
        assert weights[:N].sum().item() / weights.sum().item() == pytest.approx(golden_ratio_weight(1))
        assert sum(from_real[:N]) < N / 2


def test_grown_replace_writes_more_blocks_from_generation_to_generation(chain, tiny):
    run = chain(*tiny, "decoding.kind=sample", "decoding.beams=1", "decoding.prompt_tokens=3", "regime=grown_replace")
    written = [block_count(run.store.folder(g.artifacts["synthetic"]), "blocks") for g in run.generations()]
    assert written == [N, 2 * N, 3 * N]
    last = read_blocks(run.store.folder(run.generations()[1].artifacts["synthetic"]), "blocks")
    assert last[:N].tolist() != last[N:].tolist()


def test_equal_compute_takes_the_steps_of_the_real_data(chain, tiny):
    run = chain(*tiny, "regime=accumulate", "model.training.epoch_size=real", "decoding.prompt_tokens=3")
    plain = chain(*tiny, "regime=accumulate", "decoding.prompt_tokens=3")
    steps = {line["generation"]: line["step"] for line in run.lines("training.jsonl")}
    assert steps == {0: 4, 1: 4, 2: 4}
    keys, plain_keys = ([g.artifacts["model"].key for g in one.generations()] for one in (run, plain))
    assert keys[0] == plain_keys[0]
    assert keys[1] != plain_keys[1]
    assert {line["generation"]: line["step"] for line in plain.lines("training.jsonl")} == {0: 4, 1: 8, 2: 12}


def test_prompts_are_not_training_data(chain, tiny):
    """Under accumulate as under any regime: always the n blocks of the real split, or of the latest set."""
    for prompts in ("real", "previous"):
        run = chain(*tiny, "regime=accumulate", f"decoding.prompts={prompts}", "decoding.prompt_tokens=3")
        for generation in run.generations():
            artifact = generation.artifacts["synthetic"]
            folders = {role: run.store.folder(parent) for role, parent in artifact.parents.items()}
            given = prompt_blocks(BuildContext(artifact, run.folder, run.folder, folders), 1.0, 3)
            assert given.shape == (N, 3)
            source, name = run.family.inputs()["real"], "train"
            if prompts == "previous" and generation.number:
                source, name = run.generations()[generation.number - 1].artifacts["synthetic"], "blocks"
            assert given.tolist() == read_blocks(run.store.folder(source), name)[:, -3:].tolist()


def test_what_each_generation_starts_from(chain, tiny):
    def starts(init):
        generations = chain(*tiny, f"model.init={init}", "generations=3", execute=False).generations()
        keys = [generation.artifacts["model"].key for generation in generations]
        parents = [generation.artifacts["model"].parents.get("initial") for generation in generations]
        return [None if parent is None else keys.index(parent.key) for parent in parents]

    assert starts("fresh") == [None] * 4
    assert starts("generation0") == [None, 0, 0, 0]
    assert starts("previous") == [None, 0, 1, 2]


def test_a_continued_generation_starts_at_the_weights_it_continues(chain, tiny):
    """A fit too timid to move the weights ends where it started."""
    from safetensors.torch import load_file

    overrides = (*tiny, "model.init=generation0", "generations=1")
    timid = ("model.training.learning_rate=1e-30", "model.training.final_learning_rate=0")
    run = chain(*overrides, *timid)
    first, second = (
        load_file(run.store.folder(generation.artifacts["model"]) / "model.safetensors")
        for generation in run.generations()
    )
    assert set(first) == set(second)
    assert all(torch.allclose(first[name], second[name], rtol=0, atol=1e-25) for name in first)


# ---- a base of one's own ----------------------------------------------------------------------------------------


def test_a_base_is_pretrained_once_for_chains_of_every_seed(chain, small_opt_words):
    first = chain(*small_opt_words, "generations=1")
    second = chain(*small_opt_words, "generations=1", "seed=1")
    assert first.computed().count("base · fit") == 1
    assert "base · fit" not in second.computed()
    assert "zero-shot · scoring" in first.computed()
    assert "zero_shot/test/perplexity" in first.lines()[0]
    assert "zero_shot/test/perplexity" not in first.lines()[1]
    assert "test/perplexity_without_line_starts" in first.lines()[0]
    assert first.bytes() != second.bytes()


def test_fresh_rows_of_a_finite_text_come_from_its_reserve_and_end_with_it(chain, small_opt_words):
    overrides = (*small_opt_words, "regime=fresh", "regime.real=0.2", "data.reserve=0.4")
    run = chain(*overrides)
    reserve = read_blocks(run.store.folder(run.family.inputs()["real"]), "reserve")
    train = read_blocks(run.store.folder(run.family.inputs()["real"]), "train")
    assert (len(train), len(reserve)) == (36, 24)
    fresh = [
        read_blocks(run.store.folder(generation.artifacts["model"].parents[f"fresh_{generation.number}"]), "train")
        for generation in run.generations()[1:]
    ]
    assert [len(blocks) for blocks in fresh] == [7, 7]
    rows = [tuple(row) for blocks in fresh for row in blocks.tolist()]
    assert set(rows) <= {tuple(row) for row in reserve.tolist()}
    with pytest.raises(SettingsError, match=r"data\.reserve: sets aside 24 rows; regime=fresh needs 28"):
        chain(*overrides, "generations=4")


def test_callbacks_that_only_look_are_in_no_key_and_others_are_in_those_of_the_generations(chain, tiny):
    overrides = (*tiny, "model.training.checkpoint=last")
    plain, looking, averaging = (
        chain(*overrides, f"callbacks={callbacks}", execute=False)
        for callbacks in ("[]", "[lr_monitor]", "[lr_monitor,weight_averaging]")
    )
    keys = [[generation.artifacts["model"].key for generation in each.generations()] for each in (plain, looking)]
    assert keys[0] == keys[1]
    assert chain_id(plain.settings) == chain_id(looking.settings) != chain_id(averaging.settings)
    averaged = [generation.artifacts["model"] for generation in averaging.generations()]
    assert not {artifact.key for artifact in averaged} & set(keys[0])
    assert averaged[0].parents["real"].key == plain.generations()[0].artifacts["model"].parents["real"].key


def test_what_callbacks_log_is_in_the_record_of_every_run_of_a_chain(train, tiny):
    overrides = (*tiny, "callbacks=[lr_monitor]", "logger=[csv]", "generations=1")
    first, again = train(*overrides), train(*overrides)
    assert first.code == again.code == 0, first.err + again.err
    assert first.bytes("training.jsonl") == again.bytes("training.jsonl")
    assert all(line["lr-AdamW"] == line["learning_rate"] for line in first.lines("training.jsonl"))
    assert first.bytes("training.csv") == again.bytes("training.csv")


def test_a_chain_learns_by_the_chosen_loss_optimizer_and_schedule(chain, tiny):
    overrides = (*tiny, "generations=0")
    usual = chain(*overrides)
    chosen = ("loss={name:truncated_cross_entropy,gamma:0.3}", "optimizer={name:sgd,momentum:0.9}", "schedule=linear")
    other = chain(*overrides, *(f"model.training.{setting}" for setting in chosen))
    assert "generation 0 · fit" in other.computed()
    assert "real data" not in other.computed()
    recipe = other.generations()[0].artifacts["model"].recipe["training"]
    assert {name: (recipe[name]["name"], dict(recipe[name]["settings"])) for name in ("loss", "optimizer")} == {
        "loss": ("truncated_cross_entropy", {"gamma": 0.3}),
        "optimizer": ("sgd", {"momentum": 0.9}),
    }
    usual_recipe = usual.generations()[0].artifacts["model"].recipe["training"]
    assert not {"loss", "optimizer"} & set(usual_recipe), "as introduced they are in no recipe"
    assert other.lines("training.jsonl")[-1]["train/loss"] != usual.lines("training.jsonl")[-1]["train/loss"]
