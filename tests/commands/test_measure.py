"""``modelcollapse measure``: further metrics of finished runs, without fitting or generating anything again."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from conftest import EXECUTION
from modelcollapse.api import metric
from modelcollapse.commands.measure import main
from modelcollapse.store import Store

GAUSSIAN = ("experiment=paper_gaussian", "generations=2", "data.rows=20", "model.replicates=4", *EXECUTION)
VAE = (
    *("model=vae", "data=digits", "decoding=none", *EXECUTION, "generations=1"),
    *("data.train_rows=120", "data.validation_rows=24", "data.test_rows=30"),
    *("model.architecture.channels=2", "model.architecture.latents=3"),
    *("model.training.epochs=1", "model.training.batch_size=16", "model.classifier.epochs=1"),
    *("model.evaluation.samples=30", "model.evaluation.latent_samples=20", "model.evaluation.shown=4"),
)
COMPUTED_FROM_THE_STORE = ("timings.jsonl", "chain.json", "config.yaml", "metrics.json")


@metric("largest_mean", of="replicates", version=1, needs=("states",))
def largest_mean(states):
    return states["mean"].abs().amax(-1)


def content(folder):
    """Name -> bytes of the files of a run folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def artifacts(store):
    return {manifest.key: manifest.label for manifest in Store(store).artifacts()}


def test_a_metric_is_added_as_if_the_run_had_had_it(train, tiny, tmp_path, capsys):
    run = train(*tiny, "store.keep=ends")
    before, made = content(run.folder), artifacts(tmp_path / "store")
    command = json.loads(before["chain.json"])["command_line"]
    assert main([str(run.folder), "metrics.add=[distinct_4]"]) == 0
    assert "new: synthetic/distinct_4" in capsys.readouterr().out
    assert artifacts(tmp_path / "store") == made
    asked = train(*tiny, "store.keep=ends", "metrics.add=[distinct_4]")
    after, wanted = content(run.folder), content(asked.folder)
    assert after.keys() == before.keys() == wanted.keys()
    for name in after.keys() - {*COMPUTED_FROM_THE_STORE, "sources.json", ".modelcollapse.json"}:
        if not name.startswith(("figures/", ".hydra/")):
            assert after[name] == wanted[name], name
    assert after["metrics.json"] == wanted["metrics.json"]
    assert after["timings.jsonl"] == before["timings.jsonl"]
    identity = json.loads(after["chain.json"])
    assert identity["command_line"] == command
    assert len(identity["measured"]) == 1
    # What was added before stays, until it is left out.
    assert main([str(run.folder), "metrics.add=[loss_standard_error]"]) == 0
    line = run.lines()[1]
    assert {"synthetic/distinct_4", "test/loss_standard_error"} <= line.keys()
    assert main([str(run.folder), "metrics.remove=[distinct_4]"]) == 0
    assert "synthetic/distinct_4" not in run.lines()[1]
    assert "test/loss_standard_error" in run.lines()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("merge=negative_extrapolation", "merge.weight=0.3"),
        ("population=split", "decoding=sample", "selection=drayson", "regime=accumulate"),
    ],
    ids=["merge", "population that selects from training sets"],
)
def test_metrics_are_added_to_merged_chains_and_to_populations_as_if_they_had_had_them(train, tiny, tmp_path, words):
    run = train(*tiny, *words)
    before, made = run.lines(), artifacts(tmp_path / "store")
    assert main([str(run.folder), "metrics.add=[distinct_4]"]) == 0
    after = run.lines()
    assert artifacts(tmp_path / "store") == made
    assert after == train(*tiny, *words, "metrics.add=[distinct_4]").lines()
    new = {name for line in after for name in line} - {name for line in before for name in line}
    members = {"union/", "member_0/", "member_1/"} if "population=split" in words else set()
    assert new == {f"{prefix}synthetic/distinct_4" for prefix in {"", *members}}


def test_work_that_is_gone_is_named_with_its_cost_and_done_again_only_if_asked(train, tiny, tmp_path, capsys):
    run = train(*tiny, "store.keep=ends")
    before, model = content(run.folder), run.lines("provenance.jsonl")[1]["model"]
    shutil.rmtree(tmp_path / "store" / "scores" / run.lines("provenance.jsonl")[1]["scores"])
    message = refused(capsys, run.folder, "metrics.add=[distinct_4]")
    assert f"{run.folder}: generation 1 · fit took" in message
    assert "store.keep=ends keeps the weights of the ends only" in message
    assert "--refit does it again" in message
    assert content(run.folder) == before
    assert main([str(run.folder), "metrics.add=[distinct_4]", "--refit"]) == 0
    assert "synthetic/distinct_4" in run.lines()[1]
    assert model not in artifacts(tmp_path / "store")


def test_dear_metrics_are_artifacts_and_the_rest_is_taken_from_the_store(train, tmp_path):
    run = train(*VAE, "metrics.remove=[kid,precision_and_recall]")
    before, lines = artifacts(tmp_path / "store"), run.lines("timings.jsonl")
    assert main([str(run.folder), "metrics.add=[kid]"]) == 0
    new = {label for key, label in artifacts(tmp_path / "store").items() if key not in before}
    assert len(new) == 2
    assert all("kid" in label.lower() for label in new)
    # What is drawn of metrics that were left out is not there.
    assert (run.folder / "figures" / "elbo_by_generation.png").is_file()
    assert not (run.folder / "figures" / "samples_measured_by_generation.png").exists()
    assert "synthetic/kid" in run.lines()[0]
    assert "synthetic/precision" not in run.lines()[0]
    more = run.lines("timings.jsonl")
    assert more[: len(lines)] == lines
    assert {line["stage"] for line in more[len(lines) :]} == {"synthetic_kid"}
    # The store keeps what the run now refers to.
    assert run.lines("provenance.jsonl")[0]["synthetic_kid"] in {line["key"] for line in more}
    notes = [json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").iterdir()]
    assert {note["folder"] for note in notes} == {str(run.folder)}
    assert run.lines("provenance.jsonl")[0]["synthetic_kid"] in notes[0]["artifacts"]


@pytest.mark.slow
def test_all_runs_of_a_sweep_with_its_report(train, tmp_path, capsys):
    train(*GAUSSIAN, "--multirun", "seed=0,1")
    sweep = tmp_path / "run-0"
    (sweep / "report").mkdir()
    problems = refused(capsys, sweep, "metrics.add=[largest_men]")
    assert problems.count("did you mean largest_mean?") == 1
    assert f"{sweep / '0'}, {sweep / '1'}: 1 problem" in problems
    assert main([str(sweep), "metrics.add=[largest_mean]"]) == 0
    for seed in ("0", "1"):
        lines = [json.loads(line) for line in (sweep / seed / "generations.jsonl").read_text().splitlines()]
        assert all(line["largest_mean/mean"] > 0 for line in lines)
        assert torch.tensor([line["largest_mean/p95"] for line in lines]).isfinite().all()
    assert "largest_mean" in (sweep / "report" / "report.html").read_text()
    # A killed run is passed over.
    identity = json.loads((sweep / "0" / "chain.json").read_text())
    (sweep / "0" / "chain.json").write_text(json.dumps({**identity, "status": "interrupted"}))
    capsys.readouterr()
    assert main([str(sweep), "metrics.remove=[largest_mean]"]) == 0
    assert f"passed over, not finished: {sweep / '0'}" in capsys.readouterr().err
    assert "largest_mean/mean" in (sweep / "0" / "generations.jsonl").read_text()
    assert "largest_mean/mean" not in (sweep / "1" / "generations.jsonl").read_text()
    assert "no run is finished" in refused(capsys, sweep / "0")


def test_what_would_be_another_chain_is_refused(train, capsys):
    run = train(*GAUSSIAN)
    before = content(run.folder)
    message = refused(capsys, run.folder, "generations=5", "metrics.add=[largest_mean]", "trainer.threads=1,2")
    assert "generations, trainer.threads: not allowed here" in message
    assert content(run.folder) == before
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("rows: 20", "rows: 21"))
    message = refused(capsys, run.folder)
    assert "the model of generation 0 is" in message
    assert "(data of generation 0 differ)" in message
    shutil.rmtree(run.folder)
    assert "there is no such folder" in refused(capsys, run.folder)


@pytest.mark.timeout(120)
def test_a_script_brings_its_metric(train, repository):
    run = train(*GAUSSIAN)
    script = run.folder.parent / "mine.py"
    script.write_text(
        "import modelcollapse as mc\n\n"
        "@mc.metric('twice_the_mean', of='replicates', version=1)\n"
        "def twice_the_mean(states):\n"
        "    return 2 * states['mean'][..., 0]\n"
    )
    command = [sys.executable, "-m", "modelcollapse", "measure", run.folder, "metrics.add=[twice_the_mean]"]
    answer = subprocess.run([*command, "--script", script], capture_output=True, text=True, cwd=run.folder.parent)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "new: twice_the_mean/mean" in answer.stdout
    (extension,) = json.loads((run.folder / "chain.json").read_text())["extensions"]
    assert extension["name"] == "twice_the_mean"
