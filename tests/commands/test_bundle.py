"""``modelcollapse bundle`` and ``replay``: an archive of runs that somebody else runs again and compares."""

import json
import shutil
import zipfile

import pytest

from bundle_files import altered, json_changed, members
from conftest import EXECUTION, TINY, run_chain_of, run_command
from modelcollapse.api import regime
from modelcollapse.commands import bundle, replay, store
from modelcollapse.record.bundle import open_bundle
from modelcollapse.record.bundled_records import write_records
from modelcollapse.record.sweep_folder import PlannedChain, SweepFolder
from modelcollapse.regimes import Draw
from modelcollapse.sweeps.replaying import chains_of, compare_with_record

GAUSSIAN = ("experiment=paper_gaussian", "generations=2", "data.rows=20", "model.replicates=4", *EXECUTION)


@regime("sometimes", version=1)
class Sometimes:
    """Real data in every other generation."""

    def compose(self, generation):
        return [Draw.real(1.0)] if generation % 2 else [Draw.latest()]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The folder of a sweep of two chains, run one after the other."""
    place = tmp_path_factory.mktemp("sweep")
    chains = [PlannedChain(n, (f"seed={n}",), (f"seed={n}",), str(n), 2) for n in range(2)]
    SweepFolder(place / "sweep").begin("python sweep.py", chains)
    words, first, second = [*GAUSSIAN, f"paths.store={place / 'store'}"], place / "sweep" / "0", place / "sweep" / "1"
    run_chain_of([*words, "seed=0"], place / "store", first)
    finished = run_command([*words, "seed=1", f"hydra.run.dir={second}"], place, second)
    assert finished.code == 0, finished.err
    return place / "sweep"


@pytest.fixture(scope="module")
def bundled(sweep, tmp_path_factory):
    """A bundle of the sweep."""
    path = tmp_path_factory.mktemp("bundle") / "paper.zip"
    assert bundle.main([str(sweep), "--output", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def single(sweep, bundled):
    """A bundle of the second chain alone."""
    path = bundled.with_name("single.zip")
    assert bundle.main([str(sweep / "1"), "--output", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def replayed(bundled, tmp_path_factory):
    """A folder in which the bundle was replayed, with a store of its own."""
    place = tmp_path_factory.mktemp("elsewhere")
    assert replay.main([str(bundled), "--output", str(place / "again")]) == 0
    return place / "again"


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    """Call a command in a folder of its own; what it printed, both streams."""
    monkeypatch.chdir(tmp_path)

    def call(command, *arguments, code=0):
        capsys.readouterr()
        found = command.main([str(argument) for argument in arguments])
        printed = "".join(capsys.readouterr())
        assert found == code, printed
        return printed

    return call


def test_equal_content_is_equal_bytes_without_places_of_this_machine(sweep, bundled, said, tmp_path, monkeypatch):
    shutil.copytree(sweep, tmp_path / "sweep")
    printed = said(bundle, "sweep")
    assert (tmp_path / "sweep.zip").read_bytes() == bundled.read_bytes()
    assert "2 runs in sweep.zip" in printed
    assert str(sweep.parent).encode() not in bundled.read_bytes()
    names = members(bundled).keys()
    assert {"runs/1/settings.json", "runs/1/generations.jsonl", "runs/1/gaussian.parquet", "README.md"} <= names
    assert "seed=1" in json.loads(members(bundled)["manifest.json"])["runs"][1]["title"]
    # What is there is not overwritten.
    assert "is there already; name another file" in said(bundle, "sweep", code=2)
    monkeypatch.setenv("MY_TOKEN", "paper_gaussian")
    said(bundle, "sweep", "--output", "clean.zip")
    assert b"paper_gaussian" not in (tmp_path / "clean.zip").read_bytes()


def test_a_replay_with_a_store_of_its_own_agrees_to_the_bit(replayed, sweep):
    result = json.loads((replayed / "replay.json").read_text())
    assert result["agrees"]
    assert [(chain["verdict"], chain["taken"]) for chain in result["chains"]] == [("bits", 0), ("bits", 0)]
    assert result["chains"][0]["metrics"] > 100
    for number in ("0", "1"):
        lines = [(place / number / "generations.jsonl").read_bytes() for place in (sweep, replayed)]
        assert lines[0] == lines[1]


def test_a_check_runs_nothing_and_writes_nothing(bundled, said, tmp_path):
    printed = said(replay, bundled, "--check")
    assert "seed=0: recipes of all 4 artifacts are equal here" in printed
    assert "seed=1: recipes of all 4 artifacts are equal here" in printed
    assert list(tmp_path.iterdir()) == []


def variance_changed(content):
    """The record with one number that is another in its last digits."""
    lines = content.splitlines(keepends=True)
    line = json.loads(lines[1])
    line["variance/mean"] *= 1 + 1e-12
    return b"".join([lines[0], json.dumps(line).encode() + b"\n", *lines[2:]])


def test_an_altered_number_is_found(single, replayed, said, tmp_path):
    other = altered(single, tmp_path / "other.zip", "runs/0/generations.jsonl", variance_changed)
    printed = said(replay, other, "--store", replayed / "store", "--output", "again", code=1)
    assert "run 0, paper_gaussian, replace, 1: does not agree" in printed
    assert "4 artifacts were in the store before, and were not computed again" in printed
    assert "results differ since generation 1" in printed
    assert "variance/mean" in printed
    assert "0 of 1 run agrees" in printed


@pytest.fixture
def compared(single, replayed, tmp_path):
    """Compare a record with one member altered with what a chain gave that was replayed before."""

    def call(member, change, number=1, tolerance=None):
        other = altered(single, tmp_path / "other.zip", member, change)
        folder = tmp_path / "again"
        write_records(open_bundle(other), folder / "recorded")
        shutil.copytree(replayed / str(number), folder / "0", dirs_exist_ok=True)
        (chain,) = chains_of(open_bundle(single), (), replayed / "store")
        return compare_with_record(chain, folder, tolerance)

    return call


def test_an_altered_setting_makes_other_recipes(single, compared, said, tmp_path):
    change = json_changed(lambda settings: settings.update(seed=0))
    other = altered(single, tmp_path / "other.zip", "runs/0/settings.json", change)
    assert "4 of 4 artifacts have another recipe here" in said(replay, other, "--check", code=1)
    # What the chain of these settings gives, if it is run all the same.
    found = compared("README.md", bytes, number=0)
    assert found.verdict == "differs"
    assert not found.comparison.is_code_alone
    assert found.comparison.recipe.details[0].startswith("generation 0: stream.seed 1 -> 0")


def test_what_counts_as_agreement(compared):
    same = compared("README.md", bytes)
    assert (same.verdict, same.lacking, same.largest) == ("bits", (), 0.0)
    # Where libraries and execution are the same, so are the bits; otherwise, only who says so accepts other numbers.
    assert compared("runs/0/generations.jsonl", variance_changed).verdict == "differs"
    assert compared("runs/0/generations.jsonl", variance_changed, tolerance=1e-9).verdict == "tolerance"

    def invented(content):
        lines = [{**json.loads(line), "invented": 1.0} for line in content.splitlines()]
        return "".join(json.dumps(line) + "\n" for line in lines).encode()

    found = compared("runs/0/generations.jsonl", invented)
    assert (found.verdict, found.lacking) == ("differs", ("only the record has invented of generation 0",))
    found = compared("runs/0/generations.jsonl", lambda content: b"".join(content.splitlines(keepends=True)[:2]))
    assert "recorded are 2 generations of a finished run, and the settings lead to 3" in found.lacking


def test_the_first_generations_alone_can_be_replayed(single, said):
    """A segment of other generations is another artifact, and no other recipe."""
    assert "recipes of all 2 artifacts are equal here" in said(replay, single, "generations=1", "--check")


def test_another_chain_is_no_replay(bundled, said, tmp_path):
    printed = said(replay, bundled, "data.rows=30", "paths.store=x", "trainer.threads=2", code=2)
    assert "data.rows: decides results" in printed
    assert "paths.store: is given by --store PATH" in printed
    assert "trainer.threads" not in printed
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_stops_a_replay_before_anything_is_written(finished_chain, said, tmp_path):
    import torch

    said(bundle, finished_chain[0].folder, "--output", tmp_path / "network.zip")
    absent = "gpu" if torch.backends.mps.is_available() else "mps"
    printed = said(replay, "network.zip", f"trainer.accelerator={absent}", code=2)
    assert f"trainer.accelerator: '{absent}' is not on this machine" in printed
    assert printed.count("is not on this machine") == 1
    assert "error: 1 problem in the recorded settings" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["network.zip"]


def test_folders_of_others_are_left_alone(bundled, said, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    printed = said(replay, bundled, "--output", "mine", code=2)
    assert "holds other files (thesis.tex), and is no folder of a replay; name a folder of its own: --output" in printed
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_run_that_is_unfinished_or_damaged_is_taken_along_only_if_asked(sweep, said, tmp_path):
    shutil.copytree(sweep, tmp_path / "sweep")
    identity = tmp_path / "sweep" / "0" / "chain.json"
    identity.write_text(identity.read_text().replace('"finished"', '"failed"'))
    (tmp_path / "sweep" / "1" / "histograms.jsonl").write_text("{\n{}\n")
    printed = said(bundle, "sweep", code=2)
    assert "sweep/0: the run is not finished (failed)" in printed
    assert "sweep/1: histograms.jsonl is damaged" in printed
    assert not (tmp_path / "sweep.zip").exists()
    said(bundle, "sweep", "--incomplete")
    assert "runs/1/histograms.jsonl" not in members(tmp_path / "sweep.zip")
    printed = said(replay, "sweep.zip", "--check")
    assert "seed=0: the bundle lacks the run is not finished (failed)" in printed


def test_artifacts_make_a_store_of_it(sweep, said, tmp_path):
    said(bundle, sweep, "--artifacts", "--output", "whole.zip")
    with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert "8 artifacts checked, none damaged" in said(store, "--store", "unpacked/artifacts", "verify")
    # An artifact that is not what was published is not given to others.
    copied = tmp_path / "copy"
    shutil.copytree(sweep.parent / "store", copied)
    weights = next(copied.glob("model/*/*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    printed = said(bundle, sweep, "--artifacts", "--store", copied, "--output", "damaged.zip", code=2)
    assert f"{weights.name} was altered" in printed
    assert not list(tmp_path.glob("*damaged.zip*"))


def test_data_lie_elsewhere_and_are_named_by_whoever_replays(texts, pretrained, tmp_path, said):
    before = tmp_path / "before"
    shutil.copytree(texts, before / "texts")
    shutil.copytree(pretrained, before / "weights")
    own = [f"data.{split}={before}/texts/{split}.txt" for split in ("train", "validation", "test")]
    words = [word for word in TINY if not word.startswith(("data.", "model.architecture", "model.init", "generations"))]
    sizes = ("data.block_length=8", "data.train_blocks=40", "data.evaluation_blocks=16", "generations=0")
    chosen = ("model=pretrained", "data=text_files", f"model.pretrained={before}/weights")
    places = (f"paths.store={tmp_path / 'store'}",)
    run_chain_of([*chosen, *words, *sizes, *own, *places], tmp_path / "store", tmp_path / "run")
    printed = said(bundle, "run")
    names = ["data.train", "data.validation", "data.test", "model.pretrained"]
    assert all(f"{name}=..." in printed for name in names)
    assert str(tmp_path).encode() not in (tmp_path / "run.zip").read_bytes()
    printed = said(replay, "run.zip", code=2)
    assert all(
        f"{name}: the bundle does not hold its data; say where they are: {name}=PATH" in printed for name in names
    )
    assert "recipes not compared: " in said(replay, "run.zip", "--check")
    before.rename(tmp_path / "after")
    there = [word.replace(str(before), str(tmp_path / "after")) for word in [*own, chosen[2]]]
    assert "are equal here" in said(replay, "run.zip", *there, "--check")
    (tmp_path / "after" / "texts" / "train.txt").write_text((texts / "train.txt").read_text() + "one line more .\n")
    assert "have another recipe here" in said(replay, "run.zip", *there, "--check", code=1)
    # What cannot be read is said before anything is written.
    assert "nowhere" in said(replay, "run.zip", *there, "data.test=nowhere.txt", code=2)
    assert not (tmp_path / "replays").exists()


def test_code_of_an_extension_is_used_only_if_it_is_named(tmp_path, said):
    words = (*GAUSSIAN, "regime=sometimes", "model.synthesis=samples", "generations=1")
    run_chain_of([*words, f"paths.store={tmp_path / 'store'}"], tmp_path / "store", tmp_path / "run")
    said(bundle, "run")
    assert str(tmp_path).encode() not in (tmp_path / "run.zip").read_bytes()
    printed = said(replay, "run.zip", "--check", code=2)
    assert "a bundle brings no code, and starts none that is installed unless you name it" in printed
    assert "--extension regimes/sometimes" in printed
    assert "are equal here" in said(replay, "run.zip", "--check", "--extension", "regimes/sometimes")
