"""Views of a run: the tables for spreadsheets, and what happens where a view fails."""

import logging
import math

import pandas as pd
import pytest

from modelcollapse.record import ChainIdentity, Record, View, views
from modelcollapse.record.tracking import TrackingSettings
from modelcollapse.registry import Choice

IDENTITY = ChainIdentity("chain-7f3a", "paper_opt", "language", "opt-125m", "replace", 3)
CSV = Choice("loggers", "csv")


def write_run(folder, shown):
    with Record(folder, IDENTITY, {}, shown) as record:
        for generation in range(3):
            for epoch in range(2):
                line = {"epoch": epoch, "step": 5 * (epoch + 1), "train/loss": 1 / 3 / (1 + epoch)}
                record.epoch(generation, line | ({"lr": 0.1} if generation else {}))
            metrics = {"test/perplexity": 30.0 + generation, "undefined": math.nan}
            record.generation(generation, metrics | ({"late, or not": 1e300} if generation == 2 else {}))


def test_the_tables_hold_what_the_record_holds(tmp_path):
    write_run(tmp_path, views(TrackingSettings(kind="none"), [CSV]))
    generations, training = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("generations", "training"))
    assert list(generations.columns) == ["generation", "test/perplexity", "undefined", "late, or not"]
    assert generations["generation"].tolist() == [0, 1, 2]
    assert generations["test/perplexity"].tolist() == [30.0, 31.0, 32.0]
    assert generations["undefined"].isna().all()
    assert generations["late, or not"].isna().tolist() == [True, True, False]
    assert training["cumulative_step"].tolist() == [5, 10, 15, 20, 25, 30]
    assert training["train/loss"].tolist() == [1 / 3, 1 / 6] * 3
    assert training["lr"].isna().tolist() == [True] * 2 + [False] * 4


def test_a_run_that_starts_again_writes_the_same_tables(tmp_path):
    write_run(tmp_path, views(TrackingSettings(kind="none"), [CSV]))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    write_run(tmp_path, views(TrackingSettings(kind="none"), [CSV]))
    assert before == {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    assert set(before) == {"generations.csv", "training.csv"}


class Failing(View):
    """Fails at one call, and counts those after it."""

    label = "the board"

    def __init__(self, at):
        self._at, self.failed, self.calls_after = at, False, 0

    def _called(self, name):
        self.calls_after += self.failed
        if name == self._at:
            self.failed = True
            raise RuntimeError(f"no {name}")

    def start(self, *arguments):
        self._called("start")

    def epoch(self, line):
        self._called("epoch")

    def generation(self, *arguments, **more):
        self._called("generation")

    def finish(self, status):
        self._called("finish")


@pytest.mark.parametrize("at", ["start", "epoch", "generation", "finish"])
def test_a_view_that_fails_is_warned_of_once_and_stops_nothing(tmp_path, caplog, at):
    failing = Failing(at)
    with caplog.at_level(logging.WARNING):
        write_run(tmp_path / "with", [failing, *views(TrackingSettings(kind="none"), [CSV])])
    write_run(tmp_path / "without", [])
    assert failing.failed
    assert failing.calls_after == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"the board is off from here on; the run's own files are not affected: no {at}"
    ]
    for name in ("generations.jsonl", "training.jsonl"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    assert (tmp_path / "with" / "generations.csv").is_file()
