"""The run's own files, read back from the disk."""

import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcollapse.credentials import without_secrets
from modelcollapse.record import ChainIdentity, Record, histogram, number, read_lines

IDENTITY = ChainIdentity("chain-7f3a", "paper_opt", "language", "opt-125m", "replace", 3, ("mine",))
FILES = ("generations", "training", "histograms", "samples", "timings", "provenance")


@pytest.fixture
def record(tmp_path):
    with Record(tmp_path / "run", IDENTITY, {"seed": 3}) as record:
        yield record


def lines(record, name):
    return read_lines(record.folder / f"{name}.jsonl")


def test_identity_and_configuration(tmp_path):
    config = {
        "model": {"learning_rate": 2e-5, "name": "opt"},
        "seeds": [1, 2],
        "note": "größer",
        "none": None,
    }
    with Record(tmp_path, IDENTITY, config):
        chain = json.loads((tmp_path / "chain.json").read_text())
        assert chain["status"] == "running"
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
    assert (chain["id"], chain["experiment"], chain["family"]) == ("chain-7f3a", "paper_opt", "language")
    assert (chain["model"], chain["regime"], chain["seed"], chain["tags"]) == (
        "opt-125m",
        "replace",
        3,
        ["mine"],
    )
    assert chain["command_line"]
    assert chain["versions"]["numpy"] == np.__version__
    assert json.loads((tmp_path / "chain.json").read_text())["status"] == "finished"


def test_generation_line_is_on_the_disk_before_the_call_returns(record):
    record.generation(0, {"test/perplexity": 34.5, "synthetic/reference_perplexity/p99": np.float32(2.5)})
    (line,) = (record.folder / "generations.jsonl").read_text().splitlines()
    assert line == (
        '{"generation": 0, "seed": 3, "regime": "replace", '
        '"synthetic/reference_perplexity/p99": 2.5, "test/perplexity": 34.5}'
    )


def test_equal_values_give_equal_bytes(tmp_path):
    tellings = (
        {"a": 3, "b": -0.0, "c": np.float64(0.1), "d": float("nan")},
        {"d": np.float32("nan"), "c": 0.1, "b": 0, "a": np.int64(3)},
    )
    written = []
    for position, metrics in enumerate(tellings):
        with Record(tmp_path / str(position), IDENTITY, {}) as record:
            record.epoch(0, {"epoch": 0, "step": 5, **metrics})
            record.generation(0, metrics, samples=[dict(reversed([("x", 1), ("y", "z")]))], artifacts={"model": "k"})
        written.append([(record.folder / f"{name}.jsonl").read_bytes() for name in FILES])
    assert written[0] == written[1]


def test_nan_and_infinities_are_strict_json_and_come_back(record):
    metrics = {"nan": math.nan, "high": math.inf, "low": -math.inf}
    record.generation(0, metrics)
    text = (record.folder / "generations.jsonl").read_text()
    line = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert math.isnan(number(line["nan"]))
    assert (number(line["high"]), number(line["low"])) == (math.inf, -math.inf)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(width=64), min_size=20))
def test_every_number_comes_back_as_it_was(tmp_path_factory, values):
    metrics = {f"metric/{position}": value for position, value in enumerate(values)}
    with Record(tmp_path_factory.mktemp("run"), IDENTITY, {}) as record:
        record.generation(0, metrics)
    (line,) = lines(record, "generations")
    np.testing.assert_array_equal([number(line[name]) for name in metrics], values)


@pytest.mark.parametrize("name", ["generation", "seed", "regime"])
def test_metrics_may_not_take_the_names_of_the_keys(record, name):
    with pytest.raises(ValueError, match=name):
        record.generation(0, {name: 1.0})
    assert lines(record, "generations") == []


def test_text_is_no_metric_and_a_generation_is_reported_once(record):
    with pytest.raises(TypeError, match="regime_name"):
        record.generation(0, {"regime_name": "1.0"})
    record.generation(0, {})
    with pytest.raises(ValueError, match="generation 0 was already recorded"):
        record.generation(0, {})


def test_epochs_are_written_once_on_an_axis_that_never_restarts(record):
    for generation, epoch in [(0, 0), (0, 1), (0, 0), (0, 1), (1, 0), (0, 1), (1, 1), (3, 0)]:
        record.epoch(generation, {"epoch": epoch, "step": 7 * (epoch + 1), "train/loss": 0.5})
    written = lines(record, "training")
    assert [(line["generation"], line["epoch"], line["step"], line["cumulative_step"]) for line in written] == [
        (0, 0, 7, 7),
        (0, 1, 14, 14),
        (1, 0, 7, 21),
        (1, 1, 14, 28),
        (3, 0, 7, 35),
    ]
    assert list(written[0]) == ["generation", "epoch", "step", "cumulative_step", "train/loss"]


def test_epochs_out_of_order_or_without_a_step_are_refused(record):
    with pytest.raises(ValueError, match="step"):
        record.epoch(0, {"epoch": 0, "train/loss": 1.0})
    record.epoch(2, {"epoch": 0, "step": 1})
    with pytest.raises(ValueError, match="generation 1 reported after one of 2"):
        record.epoch(1, {"epoch": 0, "step": 1})


def test_timings_and_provenance_lie_apart(record):
    record.timing(1, "fit", 2.5, computed=True, key="abc", tokens_per_second=1e4)
    record.generation(1, {}, artifacts={"synthetic": "s1", "model": "m1"}, folders={"model": record.folder})
    assert lines(record, "timings") == [
        {
            "generation": 1,
            "stage": "fit",
            "seconds": 2.5,
            "computed": True,
            "key": "abc",
            "tokens_per_second": 1e4,
        }
    ]
    assert lines(record, "provenance") == [{"generation": 1, "model": "m1", "synthetic": "s1"}]
    assert lines(record, "generations") == [{"generation": 1, "seed": 3, "regime": "replace"}]


def test_table_document_and_samples(record):
    frame = pd.DataFrame({"generation": [0, 0], "perplexity": [1.5, np.nan]})
    pd.testing.assert_frame_equal(pd.read_parquet(record.table("perplexities", frame)), frame)
    assert record.document("continuations.md", "größer\n").read_text() == "größer\n"
    record.generation(4, {}, samples=[{"prompt": "The cat", "continuation": "sat"}])
    assert lines(record, "samples") == [{"generation": 4, "continuation": "sat", "prompt": "The cat"}]
    assert not list(record.folder.glob(".*"))


def test_names_stay_inside_the_folder_and_a_figure_must_exist(record):
    with pytest.raises(ValueError, match="plain file name"):
        record.document("../outside.md", "")
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        record.figure(record.folder / "missing.png")


def test_histogram_counts_what_numpy_counts_and_sets_apart_what_is_not_finite(record):
    values = np.random.default_rng(0).gamma(2.0, size=(40, 25))
    counts, edges = np.histogram(values, bins=64)
    record.generation(0, {}, distributions={"loss": np.append(values, [np.nan, np.inf])})
    (line,) = lines(record, "histograms")
    assert (line["generation"], line["name"], line["nonfinite"]) == (0, "loss", 2)
    assert line["counts"] == counts.tolist()
    assert line["edges"] == pytest.approx(edges)


@pytest.mark.parametrize("values", [[], [np.nan], [0.0], [5.0, np.nextafter(5.0, 6.0)], [1e300] * 3, [1e-300, 2e-300]])
def test_histogram_of_a_collapsed_distribution(values):
    drawn = histogram(np.array(values))
    assert sum(drawn.counts) == np.isfinite(values).sum()
    assert np.all(np.diff(drawn.edges) > 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted"), (ValueError, "failed")],
)
def test_status_of_a_run_that_did_not_finish(tmp_path, error, status):
    with pytest.raises(error), Record(tmp_path, IDENTITY, {}):
        raise error
    assert json.loads((tmp_path / "chain.json").read_text())["status"] == status


class Watcher:
    def __init__(self):
        self.seen = []

    def __getattr__(self, event):
        return lambda *args, **more: self.seen.append((event, args, more))


def test_views_see_what_was_written_and_never_a_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hf_verysecret")
    watcher = Watcher()
    with Record(tmp_path, IDENTITY, {"hub": {"token": "hf_verysecret"}}, [watcher]) as record:
        for _ in range(2):
            record.epoch(0, {"epoch": 0, "step": 5, "train/loss": 1})
        record.generation(0, {"b": 2, "a": 1}, distributions={"d": np.arange(3)})
    assert [event for event, _, _ in watcher.seen] == ["start", "epoch", "generation", "finish"]
    assert watcher.seen[0][1][2] == {"hub": {"token": "<SOME_TOKEN>"}}
    assert watcher.seen[1][1][0] == lines(record, "training")[0]
    assert list(watcher.seen[2][1][1].items()) == [("a", 1.0), ("b", 2.0)]
    assert list(watcher.seen[2][2]["histograms"]["d"].counts) == lines(record, "histograms")[0]["counts"]
    assert all(b"hf_verysecret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_only_secrets_are_taken_out(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("TOKENIZER", "facebook/opt-125m")
    monkeypatch.setenv("SHORT_KEY", "opt")
    config = {"tokenizer": "facebook/opt-125m", "keys": ["x-0123456789abcdef", 3, 0.5, None, True]}
    assert without_secrets(config) == {
        "tokenizer": "facebook/opt-125m",
        "keys": ["x-<WANDB_API_KEY>", 3, 0.5, None, True],
    }


def test_half_a_last_line_is_left_out_and_any_other_damage_is_named(tmp_path):
    path = tmp_path / "generations.jsonl"
    path.write_text('{"generation": 0}\n{"generation": 1}\n{"genera')
    assert read_lines(path) == [{"generation": 0}, {"generation": 1}]
    path.write_text('{"generation": 0}\n{"genera\n{"generation": 2}\n')
    with pytest.raises(ValueError, match=r"generations\.jsonl, line 2, is damaged"):
        read_lines(path)


def test_new_run_in_the_same_folder_starts_anew_and_the_old_process_cannot_write_into_it(tmp_path):
    old = Record(tmp_path, IDENTITY, {})
    for generation in range(5):
        old.generation(generation, {})
    new = Record(tmp_path, IDENTITY, {})
    assert lines(new, "generations") == []
    old.generation(5, {})
    new.generation(0, {})
    assert [line["generation"] for line in lines(new, "generations")] == [0]
    new.finish("finished")


def test_what_killed_processes_left_half_written_goes_and_what_living_ones_write_stays(tmp_path):
    Record(tmp_path / "run", IDENTITY, {}).finish("failed")
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host, living = os.uname().nodename, os.getppid()
    for name in ("chain.json", "generations.jsonl", "continuations.md"):
        for process in (ended.stdout.strip(), living):
            (tmp_path / "run" / f".{name}.{host}-{process}").write_text("half")
    (tmp_path / "run" / ".own-notes").write_text("whole")
    Record(tmp_path / "run", IDENTITY, {}).finish("finished")
    kept = {path.name for path in (tmp_path / "run").glob(".*")}
    stays = {f".{name}.{host}-{living}" for name in ("chain.json", "generations.jsonl", "continuations.md")}
    assert kept == {*stays, ".own-notes"}


KILLED = """
import sys
from pathlib import Path
from modelcollapse.record import ChainIdentity, Record
record = Record(Path(sys.argv[1]), ChainIdentity("a", "b", "c", "d", "e", 0), {})
for generation in range(10**6):
    record.epoch(generation, {"epoch": 0, "step": 1, "train/loss": generation / 3})
    record.generation(generation, {f"metric/{i}": generation / 7 for i in range(200)})
    print(generation, flush=True)
"""


@pytest.mark.parametrize("reported", [1, 8, 40])
def test_killed_process_leaves_every_generation_it_reported(tmp_path, reported):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    announced = [int(process.stdout.readline()) for _ in range(reported)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    announced += [int(word) for word in process.stdout.read().split("\n")[:-1]]
    process.stdout.close()
    kept = [line["generation"] for line in read_lines(tmp_path / "generations.jsonl")]
    assert kept[: len(announced)] == announced
    assert kept == list(range(len(kept)))
    assert read_lines(tmp_path / "training.jsonl")[-1]["generation"] >= announced[-1]
    with Record(tmp_path, IDENTITY, {}) as record:
        record.generation(0, {})
    assert len(lines(record, "generations")) == 1
