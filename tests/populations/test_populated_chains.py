"""Chains of several models: whose rows each is trained on, what is shared, recorded, and refused."""

import signal
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from conftest import TINY, TINY_VAE, run_chain_of, run_command
from modelcollapse.chain import chain_id
from modelcollapse.commands.export import export_generation
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.blocks import block_count, read_blocks, write_blocks
from modelcollapse.data.images import read_images, read_labels
from modelcollapse.interactive.runs import Run
from modelcollapse.populations.members import member_seed, shares_of
from modelcollapse.populations.rows import part_rows, write_union_sample
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.seeding import Stream
from modelcollapse.selections.kept import KEPT_FILE, Kept, read_kept
from modelcollapse.settings import SettingsError
from processes import fork_server
from test_kills import RECORDED, Moment, Runner

N = 60
"""Blocks of the real training split in the tiny chain."""
ONE_EPOCH = (*TINY, "model.training.epochs=1")
SAMPLED = (*ONE_EPOCH, "decoding.kind=sample", "decoding.beams=1")
SPLIT = (*SAMPLED, "population=split", "generations=1")
TWO, THREE = "population.models=2", "population.models=3"
VAE = (*TINY_VAE, "model.synthesis=fixed")


@pytest.fixture
def declared(chain):
    """The artifacts by role of each generation of a chain that is not run."""

    def found(*overrides):
        return [dict(each.artifacts) for each in chain(*overrides, execute=False).generations()]

    return found


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Two members that share the real blocks out and are trained on what both wrote, by the command line."""
    place = tmp_path_factory.mktemp("split")
    overrides = [*SPLIT, f"paths.store={place / 'store'}", f"hydra.run.dir={place / 'run'}"]
    return run_command(overrides, place, place / "run")


@pytest.fixture(scope="module")
def union(split, tmp_path_factory):
    """The same chain below the command line, of what the command left in the store."""
    return run_chain_of(SPLIT, split.folder.parent / "store", tmp_path_factory.mktemp("union") / "run")


def folder(run, generation, role):
    return run.store.folder(run.generations()[generation].artifacts[role])


def rows_of(run, generation, role):
    return [tuple(row) for row in read_blocks(folder(run, generation, role), "blocks").tolist()]


# ---- whose rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("population.diet=own",), ("population=split", "population.models=1")])
def test_one_model_is_a_chain_whatever_else_is_said(declared, compose_values, words):
    assert declared(*TINY, *words) == declared(*TINY)
    settings, plain = (read_chain_settings(compose_values(*TINY, *more)) for more in (words, ()))
    assert chain_id(settings) == chain_id(plain)
    assert chain_id(read_chain_settings(compose_values(*TINY, TWO))) != chain_id(plain)


def test_members_that_eat_what_they_write_are_chains_of_their_own_seeds(declared):
    members = declared(*SAMPLED, THREE, "population.diet=own")
    for member in range(3):
        prefix = f"member_{member}/" if member else ""
        for generation, artifacts in enumerate(declared(*SAMPLED, f"seed={member_seed(0, member)}")):
            assert {role: members[generation][prefix + role] for role in artifacts} == artifacts


def test_seeds_of_members_are_seeds_and_all_different():
    found = {member_seed(seed, member) for seed in range(20) for member in range(64)}
    assert len(found) == 20 * 64
    assert all(0 <= seed < 2**63 for seed in found)


def test_the_other_of_a_member_is_the_next_and_of_the_last_the_first(declared):
    first, second = declared(*SAMPLED, THREE, "population.diet=other", "generations=1")
    for member, other in (("", "member_1/"), ("member_1/", "member_2/"), ("member_2/", "")):
        assert second[f"{member}model"].parents["synthetic_0"] == first[f"{other}synthetic"]


def test_a_random_diet_is_one_members_and_another_in_other_generations(declared):
    generations = declared(*SAMPLED, TWO, "population.diet=random", "generations=24")
    for role in ("model", "member_1/model"):
        eaten = [
            [
                name
                for name in ("synthetic", "member_1/synthetic")
                if before[name] == after[role].parents[f"synthetic_{t}"]
            ]
            for t, (before, after) in enumerate(pairwise(generations))
        ]
        assert all(len(names) == 1 for names in eaten)
        # Of 24 fair draws 3 or fewer fall on one side with a probability of 0.0003.
        assert 3 < sum(names == ["synthetic"] for names in eaten) < 21


def test_a_union_is_as_many_rows_drawn_without_replacement_from_all(union):
    written = [rows_of(union, 0, role) for role in ("synthetic", "member_1/synthetic")]
    for member in ("", "member_1/"):
        artifact = union.generations()[1].artifacts[f"{member}diet"]
        assert union.generations()[1].artifacts[f"{member}model"].parents["synthetic_0"] == artifact
        diet = rows_of(union, 1, f"{member}diet")
        assert len(diet) == N // 2
        there = [row for rows in written for row in rows]
        for row in diet:
            there.remove(row)
        assert all(set(rows) & set(diet) for rows in written)
    assert rows_of(union, 1, "diet") != rows_of(union, 1, "member_1/diet")


def test_split_data_are_shared_out_without_overlap_and_measured_by_the_same_rows(union):
    artifacts = union.generations()[0].artifacts
    parts = [artifacts[f"{member}model"].parents["real"] for member in ("", "member_1/")]
    (whole,) = {part.parents["whole"] for part in parts}
    folders = [union.store.folder(part) for part in parts]
    rows = [tuple(row) for part in folders for row in read_blocks(part, "train").tolist()]
    everything = read_blocks(union.store.folder(whole), "train").tolist()
    assert sorted(rows) == sorted(map(tuple, everything))
    assert [block_count(part, "train") for part in folders] == [N // 2, N // 2]
    for split in ("validation", "test", "bytes_per_token"):
        expected = read_blocks(union.store.folder(whole), split)
        assert all(torch.equal(read_blocks(part, split), expected) for part in folders)
    assert len(rows_of(union, 0, "member_1/synthetic")) == N // 2


def test_rows_that_do_not_go_into_the_members_are_nobodys():
    parts = [
        part_rows(60, member, shares_of(PopulationSettings(7, "split")), Stream(0, 0, "test")) for member in range(7)
    ]
    assert [len(part) for part in parts] == [60 // 7] * 7
    assert len(np.unique(np.concatenate(parts))) == 7 * (60 // 7)


def test_members_have_as_much_of_the_real_rows_as_their_sizes_say():
    shares = shares_of(PopulationSettings(3, "split", sizes=(2.0, 1.0, 0.5)))
    parts = [part_rows(60, member, shares, Stream(0, 0, "test")) for member in range(3)]
    assert [len(part) for part in parts] == [34, 17, 8]
    assert len(np.unique(np.concatenate(parts))) == 34 + 17 + 8


def test_equal_sizes_are_none_and_unequal_ones_other_chains(declared, compose_values):
    equal, unequal = "population.sizes=[3,3]", "population.sizes=[2,1]"
    assert declared(*SPLIT, equal) == declared(*SPLIT)
    plain, same, other = (
        chain_id(read_chain_settings(compose_values(*SPLIT, *more))) for more in ((), (equal,), (unequal,))
    )
    assert plain == same != other
    halves, thirds = declared(*SPLIT), declared(*SPLIT, unequal)
    for role in ("model", "member_1/model", "member_1/synthetic"):
        assert thirds[0][role] != halves[0][role]
    whole = declared(*SAMPLED)[0]["synthetic"].expected_bytes
    assert halves[0]["synthetic"].expected_bytes == halves[0]["member_1/synthetic"].expected_bytes == whole / 2
    assert [thirds[1][role].expected_bytes * 3 for role in ("diet", "member_1/diet")] == [2 * whole, whole]


def test_what_a_selection_weighs_weighs_as_much_in_a_union(tmp_path):
    sets = []
    for number, weights in enumerate(([2.0, 1.0, 1.0, 0.0001], None)):
        sets.append(tmp_path / str(number))
        sets[-1].mkdir()
        write_blocks(sets[-1], blocks=np.arange(8, dtype=np.int32).reshape(4, 2) + 100 * number)
        if weights:
            kept = Kept(torch.arange(4), torch.tensor(weights, dtype=torch.float64))
            save_file(kept._asdict(), sets[-1] / KEPT_FILE)
    target = tmp_path / "target"
    target.mkdir()
    write_union_sample(sets, target, file="blocks.safetensors", stream=Stream(0, 0, "test"))
    rows, kept = read_blocks(target, "blocks"), read_kept(target)
    of_row = [[2.0, 1.0, 1.0, 0.0001, 1.0, 1.0, 1.0, 1.0][row] for row in kept.rows.tolist()]
    assert kept.weights.tolist() == pytest.approx([each * 4 / sum(of_row) for each in of_row])
    assert rows[:, 0].tolist() == [2 * row if row < 4 else 92 + 2 * row for row in kept.rows.tolist()]


def test_each_member_selects_of_what_it_wrote_and_others_eat_what_is_left(declared):
    first, second = declared(*SAMPLED, "selection=top", TWO, "population.diet=union", "generations=1")
    scores = first["member_1/candidate_scores"]
    assert scores.parents["reference"] == first["member_1/model"]
    assert set(second["diet"].parents.values()) == {first["synthetic"], first["member_1/synthetic"]}
    assert first["synthetic"].kind == "selected"


@pytest.mark.parametrize("regime", ["accumulate", "general", "older"])
def test_every_older_set_is_of_the_diet_too(declared, regime):
    generations = declared(*SAMPLED, f"regime={regime}", TWO, "population.diet=other", "generations=3")
    parents = generations[3]["member_1/model"].parents
    for t in range(3):
        assert parents[f"synthetic_{t}"] == generations[t]["synthetic"]


def test_each_member_is_merged_with_its_own_first_model(declared):
    first, second = declared(*SAMPLED, TWO, "merge=average", "generations=1")
    assert second["member_1/model"].parents["reference"] == first["member_1/model"]
    assert second["member_1/model"].parents["fitted"] == second["member_1/fitted"]


def test_what_is_continued_is_of_the_diet(declared):
    first, second = declared(*SAMPLED, TWO, "population.diet=other", "decoding.prompts=previous", "generations=1")
    assert second["synthetic"].parents["prompts"] == first["member_1/synthetic"]


# ---- the record -------------------------------------------------------------------------------------------------


def test_the_record_holds_members_their_means_and_the_union(split):
    assert split.code == 0, split.err
    for line in split.lines():
        for name in ("test/perplexity", "synthetic/distinct_2"):
            members = [line[f"member_{member}/{name}"] for member in range(2)]
            assert line[name] == pytest.approx(sum(members) / 2)
        assert line["union/synthetic/reference_perplexity/n"] == N // 2
        assert "union/test/perplexity" not in line
    epochs = split.lines("training.jsonl")
    assert [(line["generation"], line["cumulative_step"]) for line in epochs] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    assert ["member_1/train/loss" in line for line in epochs] == [False, True, False, True]
    assert {sample["member"] for sample in split.lines("samples.jsonl")} == {0, 1}
    assert (split.folder / "figures" / "members_by_generation.png").is_file()


def test_of_all_members_rows_the_words_of_all_real_rows_are_looked_for(split, union):
    """And of a member's, those of its own."""
    real = union.generations()[0].artifacts["model"].parents["real"]
    for rows, role, name in ((real.parents["whole"], "union", "union/"), (real, "synthetic", "member_0/")):
        there = {word for row in read_blocks(union.store.folder(rows), "train").tolist() for word in row}
        kept = there & {word for row in rows_of(union, 0, role) for word in row}
        assert split.lines()[0][f"{name}synthetic/vocabulary_kept"] == pytest.approx(len(kept) / len(there))


def test_models_and_texts_of_every_member_are_there_to_be_used(split, union, tmp_path):
    run = Run(split.folder)
    texts = run.synthetic(0, member=1)
    assert texts.tokens.tolist() == [list(row) for row in rows_of(union, 0, "member_1/synthetic")]
    weights = [run.model(1, member=member).state_dict() for member in range(2)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    exported = export_generation(split.folder, 1, tmp_path / "exported", role="member_1/model")
    assert exported.manifest.key == union.generations()[1].artifacts["member_1/model"].key


def test_a_finished_population_is_measured_without_being_computed(split):
    before = split.lines()
    folders = split.folder.parent / "store"
    done = run_command(
        [*SPLIT, "metrics.add=[distinct_4]", f"paths.store={folders}", f"hydra.run.dir={split.folder}-measured"],
        split.folder.parent,
        f"{split.folder}-measured",
    )
    after = done.lines()
    assert all("union/synthetic/distinct_4" in line and "member_1/synthetic/distinct_4" in line for line in after)
    assert [line["test/perplexity"] for line in after] == [line["test/perplexity"] for line in before]
    assert not any(line["computed"] for line in done.lines("timings.jsonl"))


def test_the_plan_lists_the_artifacts_of_every_member(train):
    finished = train(*SPLIT, "plan=true")
    assert finished.code == 0
    for member in range(2):
        for stage in ("fit", "synthesis", "scoring"):
            assert f"generation 1 · member {member} · {stage}" in finished.out
    assert "generation 0 · member 1 · drawing from all members" in finished.out


def test_a_population_that_is_killed_in_a_members_fit_ends_with_the_same_bits(union, chain, tmp_path):
    artifact = union.generations()[1].artifacts["member_1/model"]
    runner = Runner(fork_server(), tmp_path, SPLIT)
    published = f"{artifact.kind}/.{artifact.key}.*/manifest.json"
    code, log = runner.finish(Moment("rename", published, 1))
    assert code == -signal.SIGKILL, log
    resumed = chain(*SPLIT, store=runner.store)
    for file in RECORDED:
        assert resumed.bytes(file) == union.bytes(file), file
    assert "generation 1 · member 0 · fit" not in resumed.computed()
    assert "generation 1 · member 1 · fit" in resumed.computed()


# ---- images -----------------------------------------------------------------------------------------------------


def test_images_are_shared_out_and_classified_by_one_instrument(chain):
    words = ("population.sizes=[3,1]", "metrics.add=[generated]")
    run = chain(*VAE, "population=split", "regime=accumulate", "selection=random", *words)
    first, second = (dict(each.artifacts) for each in run.generations())
    parts = [run.store.folder(first[f"{member}model"].parents["real"]) for member in ("", "member_1/")]
    whole = run.store.folder(first["model"].parents["real"].parents["whole"])
    classes = torch.cat([read_labels(part, "train") for part in parts])
    assert classes.sort().values.tolist() == read_labels(whole, "train").sort().values.tolist()
    assert [len(read_images(part, "train")) for part in parts] == [30, 10]
    assert first["measures"].parents["classifier"] == first["member_1/measures"].parents["classifier"]
    sets = [run.store.folder(second[role]) for role in ("diet", "member_1/diet", "union")]
    assert [len(read_images(each, "train")) for each in sets] == [30, 10, 30]
    line = run.lines()[1]
    assert "union/synthetic/kid" in line
    # Of all members, with what was not selected.
    written = [line[f"member_{member}/synthetic/generated"] for member in range(2)]
    assert written == [2 * 30, 2 * 10]
    assert line["union/synthetic/generated"] == sum(written)


# ---- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            (*VAE, TWO, "model.synthesis=stream"),
            "population.models: 2 members are not allowed with model.synthesis=stream, which stores no images",
        ),
        (
            (*TINY, "population=split", "population.models=61"),
            "population.models: 61 members cannot share 60 rows of the real training split with population.data=split;"
            " it must be at most 60",
        ),
        ((*TINY, "population.models=0"), "population.models: 0 is not allowed"),
        (
            (*TINY, TWO, "population.sizes=[2,1]"),
            "population.sizes: is of no use with population.data=shared, where each member has all real rows",
        ),
        (
            (*SPLIT, "population.diet=other", "population.sizes=[2,1]"),
            "population.sizes: unequal sizes are not allowed with population.diet=other, which hands on a set of its",
        ),
        (
            (*SPLIT, "population.sizes=[1000,1]"),
            "population.sizes: [1000.0, 1.0] leave a member no row of 60 of the real training split; the smallest must",
        ),
        ((*SPLIT, "population.sizes=[1,0]"), "population.sizes[1]: 0 is not allowed"),
        ((*TINY, TWO, "population.diet=unions"), "population.diet: 'unions' is not allowed (did you mean union?)"),
    ],
)
def test_what_cannot_be_is_one_message(compose_values, overrides, expected):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    (problem,) = caught.value.problems
    assert problem.startswith(expected)
