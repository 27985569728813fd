"""What a sweep looks like while it runs, drawn from folders as chains leave them."""

import io

import pytest
from rich.console import Console

from modelcollapse.record import ChainIdentity, Record, RunState
from modelcollapse.record.sweep_folder import ChainProcess, PlannedChain, SweepFolder
from modelcollapse.sweeps.watching import PlainLines, drawn, seconds_left, seen

STARTED, ENDED = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:40+00:00"


def chain(number, generations=3):
    return PlannedChain(number, ("seed=0",), (f"seed={number}",), f"id-{number}", generations)


@pytest.fixture
def sweep(tmp_path):
    """A sweep of five chains: finished, running, failed, waiting, and a long one that is running."""
    folder = SweepFolder(tmp_path / "sweep")
    chains = [chain(0), chain(1), chain(2), chain(3), chain(4, generations=1999)]
    folder.begin("python sweep.py", chains)
    write(folder, chains[0], finished=4, stored=2, exit_code=0)
    write(folder, chains[1], finished=2, stored=0, progress=("generation 2 · fit", 30, 120, 90.0))
    write(folder, chains[2], finished=1, stored=0, exit_code=-9, error="killed by SIGKILL, probably for memory")
    write(folder, chains[4], finished=500, stored=0)
    return folder, chains


def write(folder, one, finished, stored, exit_code=None, error=None, progress=None):
    place = folder.chain(one.number)
    with Record(place, ChainIdentity(one.id, "e", "f", "m", "replace", 0), {}) as record:
        for generation in range(finished):
            # Two generations an artifact, as segments are: the artifact is timed with the first.
            key = f"key-{generation // 2}"
            if generation % 2 == 0:
                record.timing(generation, "fit", 1.0, computed=generation >= stored, key=key)
            record.generation(generation, {"loss": 1.0}, artifacts={"model": key})
    if progress:
        RunState(place).progress(*progress)
    ended = None if exit_code is None else ENDED
    folder.write_process(one.number, ChainProcess("host", 1, STARTED, 2, ended, exit_code, error))


def picture(folder, chains, rows=20, width=120):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    console.print(drawn([seen(folder, one) for one in chains], 100.0, rows))
    return out.getvalue()


def test_chains_are_rows_and_generations_are_cells(sweep):
    lines = picture(*sweep).splitlines()
    row = {int(line.split()[0]): line for line in lines[:5]}
    assert "□□■■" in row[0]
    assert "1 min 40 s" in row[0] or "100 s" in row[0]
    assert "■■▸·" in row[1]
    assert "generation 2 · fit, 25%, 90 s left" in row[1]
    assert "■x··" in row[2]
    assert "killed by SIGKILL, probably for memory" in row[2]
    assert "····" in row[3]
    assert "waiting" in row[3]
    assert "25 % of 2000" in row[4]
    assert "5 chains: 2 running, 1 failed, 1 finished, 1 waiting; 507 of 2016 generations" in lines[5]
    assert "left" in lines[5]


def test_where_there_is_no_room_the_running_and_the_failed_are_shown(sweep):
    text = picture(*sweep, rows=4)
    assert "seed=3" not in text
    assert "and 1 finished, 1 waiting" in text


def test_the_time_left_follows_from_what_was_computed(sweep):
    folder, chains = sweep
    running = [seen(folder, one) for one in chains[:2]]
    assert [one.computed for one in running] == [2, 2]
    assert seconds_left(running, elapsed=100.0) == pytest.approx(100 * 2 / 4)
    assert seconds_left([seen(folder, chains[3])], elapsed=100.0) is None


def test_plain_lines_say_what_is_new_and_nothing_twice(sweep, capsys):
    folder, chains = sweep
    lines = PlainLines()
    for _ in range(2):
        lines.show([seen(folder, one) for one in chains[:4]], 1.0)
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "0  seed=0: started",
        "0  seed=0: generation 3 of 3 finished",
        "0  seed=0: finished",
        "1  seed=1: started",
        "1  seed=1: generation 1 of 3 finished",
        "2  seed=2: started",
        "2  seed=2: generation 0 of 3 finished",
        "2  seed=2: failed: killed by SIGKILL, probably for memory",
    ]


def test_a_sweep_in_the_same_folder_takes_the_permit_of_the_earlier_one(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    first = folder.begin("python sweep.py", [chain(0)])
    assert folder.may_run(first)
    second = folder.begin("python sweep.py", [chain(0)])
    folder.end(first)
    assert not folder.may_run(first)
    assert folder.may_run(second)
    folder.end(second)
    assert not folder.may_run(second)
