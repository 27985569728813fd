"""Runs read back as one table."""

import math
import os

import pandas as pd
import pytest

from modelcollapse.record import ChainIdentity, Record
from modelcollapse.record.run_tables import results

HEAD = ["run", "chain", "status", "experiment", "family", "model", "regime", "seed", "generation"]


def write_run(folder, *, regime="replace", seed=1, recorded=({"test/perplexity": 34.0},), identifier="chain"):
    identity = ChainIdentity(identifier, "paper_opt", "language", "opt-125m", regime, seed)
    with Record(folder, identity, {}) as record:
        for generation, metrics in enumerate(recorded):
            record.generation(generation, metrics)


def test_one_run(tmp_path):
    write_run(tmp_path / "run", recorded=[{"test/perplexity": 34.0, "a": 1}, {"test/perplexity": 55.5, "a": 2}])
    expected = pd.DataFrame(
        {
            "run": ["run"] * 2,
            "chain": ["chain"] * 2,
            "status": ["finished"] * 2,
            "experiment": ["paper_opt"] * 2,
            "family": ["language"] * 2,
            "model": ["opt-125m"] * 2,
            "regime": ["replace"] * 2,
            "seed": [1, 1],
            "generation": [0, 1],
            "a": [1.0, 2.0],
            "test/perplexity": [34.0, 55.5],
        }
    )
    pd.testing.assert_frame_equal(results(tmp_path / "run"), expected)


def test_many_runs_at_any_depth_with_different_metrics(tmp_path):
    write_run(tmp_path / "sweep" / "1", regime="accumulate", seed=2, recorded=[{"b": 1.0}] * 3)
    write_run(tmp_path / "sweep" / "0", recorded=[{"a": 1.0}, {"a": 2.0}])
    write_run(tmp_path / "single", seed=9, recorded=[{"a": 5.0}])
    table = results(tmp_path)
    assert list(table.columns) == [*HEAD, "a", "b"]
    assert list(zip(table["run"], table["generation"], strict=True)) == [
        ("single", 0),
        ("sweep/0", 0),
        ("sweep/0", 1),
        ("sweep/1", 0),
        ("sweep/1", 1),
        ("sweep/1", 2),
    ]
    assert list(table["seed"]) == [9, 1, 1, 2, 2, 2]
    assert list(table["regime"]) == ["replace"] * 3 + ["accumulate"] * 3
    assert table.loc[table["run"] == "sweep/1", "a"].isna().all()


def test_a_chain_that_was_run_several_times_is_there_once(tmp_path):
    for day, name in enumerate(("monday", "tuesday", "wednesday")):
        write_run(tmp_path / name, recorded=[{"a": 1.0}] * (1 if name == "wednesday" else 2))
        os.utime(tmp_path / name / "chain.json", (day, day))
    assert list(results(tmp_path)["run"]) == ["tuesday"] * 2
    assert list(results(tmp_path, every_run=True)["run"]) == ["monday"] * 2 + ["tuesday"] * 2 + ["wednesday"]


def test_settings_that_differ_are_columns(tmp_path):
    for number, (share, rate) in enumerate([(0.1, 1.0), (0.1, 2.0), (0.5, 1)]):
        config = {
            "regime": {"name": "preserve", "real": share, "list": [1, number]},
            "model": {"rate": rate},
            "seed": number,
            "trainer": {"threads": number},
            "metrics": {"add": [number]},
            "same": 1,
        }
        identity = ChainIdentity(str(number), "grid", "language", "opt", "preserve", number)
        with Record(tmp_path / str(number), identity, config) as record:
            record.generation(0, {"a": float(number)})
    table = results(tmp_path)
    assert list(table.columns) == [*HEAD[:-1], "regime.real", "regime.list", "model.rate", "generation", "a"]
    assert table["regime.real"].tolist() == [0.1, 0.1, 0.5]
    assert table["model.rate"].tolist() == [1, 2, 1]
    assert len(table.groupby(["regime.real", "regime.list", "model.rate"])) == 3


def test_a_run_that_was_killed_says_so(tmp_path):
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "chain.json"
    path.write_text(path.read_text().replace('"finished"', '"running"'))
    assert list(results(tmp_path)["status"]) == ["killed"]


def test_what_is_not_finite_comes_back_as_it_was(tmp_path):
    write_run(tmp_path, recorded=[{"nan": math.nan, "high": math.inf, "low": -math.inf}])
    (row,) = results(tmp_path).to_dict("records")
    assert math.isnan(row["nan"])
    assert (row["high"], row["low"]) == (math.inf, -math.inf)
    assert results(tmp_path)["high"].dtype == float


def test_run_that_was_cut_short_counts_as_far_as_it_went(tmp_path):
    write_run(tmp_path / "run", recorded=[{"a": 1.0}, {"a": 2.0}])
    with (tmp_path / "run" / "generations.jsonl").open("a") as file:
        file.write('{"generation": 2, "se')
    assert list(results(tmp_path)["generation"]) == [0, 1]


def test_copies_inside_a_run_folder_are_no_runs(tmp_path):
    write_run(tmp_path / "run")
    write_run(tmp_path / "run" / "wandb" / "files")
    assert list(results(tmp_path)["run"]) == ["run"]


def test_relative_path(tmp_path, monkeypatch):
    write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    assert list(results(".")["run"]) == ["run"]


def test_nothing_found_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run at or below .*chain\.json and generations\.jsonl"):
        results(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing is no folder"):
        results(tmp_path / "missing")
    write_run(tmp_path / "run", recorded=[])
    with pytest.raises(FileNotFoundError, match="no finished generation in any of the 1 runs"):
        results(tmp_path)
