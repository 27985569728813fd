"""``progress.json`` and ``error.json`` of a run folder."""

import json

import pytest

from modelcollapse.errors import Interrupted, UserError
from modelcollapse.record import RunState, StageProgress, read_error, read_progress, run_state


@pytest.fixture
def folder(tmp_path):
    """A run folder in which something has begun."""
    (tmp_path / "output.log").touch()
    return tmp_path


def fail(folder, error, cause=None):
    def run():
        with RunState(folder) as state:
            state.generation = 3
            state.progress("generation 3 · fit", 1, 10, 9.0)
            raise error from cause

    with pytest.raises(type(error)):
        run()
    return read_error(folder)


def test_progress_is_written_when_a_stage_begins_and_then_once_in_a_while(folder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run_state.time, "monotonic", lambda: now[0])
    with RunState(folder) as state:
        state.progress("base · fit", 0, 10, 0.0)
        state.generation = 2
        state.progress("base · fit", 5, 10, 0.1)
        assert read_progress(folder) == StageProgress("base · fit", 0, 10, 0.0)
        now[0] += 1.5
        state.progress("base · fit", 6, 10, 1.04)
        assert read_progress(folder) == StageProgress("base · fit", 6, 10, 1.0, generation=2)
        state.progress("generation 2 · fit", 0, 4, 0.0)
        assert read_progress(folder).label == "generation 2 · fit"
        assert read_progress(folder).share == 0
        state.progress("generation 2 · fit", 4, 4, 0.0)
        assert read_progress(folder) is None
        state.progress("generation 2 · scores", 1, 4, 0.0)
    assert [path.name for path in folder.iterdir()] == ["output.log"]


def test_an_exception_is_described_with_where_it_happened(folder):
    error = fail(folder, ValueError("first\nsecond"))
    assert (error.kind, error.type, error.message) == ("exception", "ValueError", "first")
    assert (error.generation, error.stage) == (3, "generation 3 · fit")
    assert error.line == "ValueError: first"
    assert "raise error from cause" in error.traceback
    assert read_progress(folder) is None


@pytest.mark.parametrize(
    ("error", "cause", "kind", "name", "line"),
    [
        (UserError("2 problems:\n  a: 1"), ValueError("a"), "user", "ValueError", "2 problems: a: 1"),
        (UserError("too much"), MemoryError(), "out_of_memory", "MemoryError", "too much"),
        (MemoryError("all of it"), None, "out_of_memory", "MemoryError", "all of it"),
        (Interrupted(15), None, "interrupted", "modelcollapse.errors.Interrupted", None),
        (KeyboardInterrupt(), None, "interrupted", "KeyboardInterrupt", "KeyboardInterrupt"),
        (ValueError(), None, "exception", "ValueError", "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_the_kind_is_what_people_can_do_about_it(folder, error, cause, kind, name, line):
    found = fail(folder, error, cause)
    assert (found.kind, found.type) == (kind, name)
    assert found.line == (line or "modelcollapse.errors.Interrupted: SIGTERM")
    assert (found.traceback is not None) == (kind == "exception")


def test_a_later_run_begins_without_the_files_of_the_earlier_one(folder):
    fail(folder, ValueError("x"))
    with RunState(folder):
        assert read_error(folder) is None


def test_secrets_are_not_written(folder, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "abcdefghijkl")
    error = fail(folder, ValueError("refused abcdefghijkl"))
    assert error.message == "refused <SOME_API_KEY>"
    assert "abcdefghijkl" not in (folder / "error.json").read_text()


def test_a_folder_that_cannot_be_written_stops_nothing(folder, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_state.Path, "write_text", full)
    assert fail(folder, ValueError("x")) is None


def test_nothing_is_left_in_a_folder_where_nothing_has_begun(tmp_path):
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        if folder.name == "empty":
            folder.mkdir()
        assert fail_early(folder) is None
        assert not folder.exists() or not any(folder.iterdir())


def fail_early(folder):
    with pytest.raises(ValueError, match="x"), RunState(folder):
        raise ValueError("x")
    return read_error(folder)


@pytest.mark.parametrize("content", ["", "{", "[1"])
def test_a_damaged_file_reads_as_none(folder, content):
    (folder / "progress.json").write_text(content)
    assert read_progress(folder) is None


def test_the_files_are_json_for_people(folder):
    fail(folder, ValueError("x"))
    assert [*json.loads((folder / "error.json").read_text())] == [
        *("kind", "type", "message", "generation", "stage", "traceback")
    ]
