"""Progress of a stage where there is no terminal."""

import pytest

from modelcollapse.training.progress import stage_bar
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution


@pytest.fixture
def reported():
    return []


@pytest.fixture
def execution(reported):
    listener = lambda label, done, total, left: reported.append((label, done, total))  # noqa: E731
    return Execution(TrainerSettings("cpu", "32-true", 1, 4, False), None, on_progress=listener)


def test_steps_are_reported_without_a_console_and_a_stage_that_ends_early_is_done(execution, reported):
    with stage_bar("fit", 5, execution) as bar:
        bar.advance()
        bar.advance(2)
    assert reported == [("fit", 0, 5), ("fit", 1, 5), ("fit", 3, 5), ("fit", 5, 5)]


def test_a_stage_that_fails_is_not_reported_as_done(execution, reported):
    def fail():
        with stage_bar("fit", 5, execution) as bar:
            bar.advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert reported[-1] == ("fit", 1, 5)
