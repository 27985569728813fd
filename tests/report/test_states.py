"""What a report says of a sweep that is not finished, chain by chain."""

import os
import re
import subprocess
import sys

import pytest
from test_sweep_report import Elements

from modelcollapse.commands.report import main
from modelcollapse.errors import UserError
from modelcollapse.record.sweep_folder import ChainProcess, PlannedChain, SweepFolder
from modelcollapse.report import write_sweep_report
from modelcollapse.store.claims import process_began

pytest_plugins = ("report_runs",)

STARTED, ENDED = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:40+00:00"
HERE = os.uname().nodename


def planned(regime, seed, number):
    words = (f"regime={regime}", f"seed={seed}")
    return PlannedChain(number, words, words, f"language_model-{regime}-{seed}-1.0", generations=3)


@pytest.fixture
def dead():
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def sweep(tmp_path, one_run, dead):
    """Eight chains: finished, failed, killed, stopped, running, failed at once, and two that have not begun."""
    seeds = {"replace": (0, 1, 2, 3), "preserve": (0, 1), "accumulate": (2, 3)}
    places = [(regime, seed) for regime, of_regime in seeds.items() for seed in of_regime]
    chains = [planned(*place, number) for number, place in enumerate(places)]
    folder = SweepFolder(tmp_path / "sweep")
    folder.begin("python sweep.py", chains)
    ends = {
        0: (4, {"ended": ENDED, "exit_code": 0}),
        1: (3, {"ended": ENDED, "exit_code": 1, "error": "out of luck"}),
        2: (2, {}),
        3: (1, {"ended": ENDED, "exit_code": -15, "stopped": True, "error": "killed by SIGTERM"}),
        4: (2, {}),
    }
    for number, (recorded, end) in ends.items():
        regime, seed = places[number]
        one_run(folder.chain(number), regime=regime, seed=seed, recorded=recorded)
        process = os.getpid() if number == 4 else dead
        folder.write_process(number, ChainProcess(HERE, dead, STARTED, process, **end))
    folder.chain(5).mkdir()
    folder.write_process(5, ChainProcess(HERE, dead, STARTED, dead, ENDED, 2, "no such file"))
    return folder


def rows_after(page, heading):
    """The cells of the first table after a heading, row by row."""
    table = page[page.index(heading) :].partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("</tr>")[:-1]]


SENTENCES = (
    "replace, seed 1 (1): failed in generation 3 of 3: out of luck",
    "replace, seed 2 (2): killed in generation 2 of 3",
    "replace, seed 3 (3): stopped in generation 1 of 3",
    "preserve, seed 0 (4): running in generation 2 of 3",
    "preserve, seed 1 (5): failed in generation 0 of 3: no such file",
    "accumulate, seed 2 (6): has not begun",
    "accumulate, seed 3 (7): has not begun",
)


def test_every_chain_that_was_asked_for_and_is_not_finished_is_named(sweep, capsys):
    main([str(sweep.path)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[printed.index("unfinished:") + 1 :] == [f"  {sentence}" for sentence in SENTENCES]
    text = Elements((sweep.path / "report" / "report.html").read_text()).text
    assert all(sentence in text for sentence in SENTENCES)
    assert "8 chains in 2 groups, 1 of them finished" in text
    assert "1 of 8 chains are finished" in text


def test_the_headline_says_of_how_many_seeds_and_generations_it_is(sweep):
    report = write_sweep_report([sweep.path], sweep.path / "report")
    rows = rows_after(report.html.read_text(), 'id="headline"')
    assert [row[:3] for row in rows] == [
        ["replace", "0 of 3", "4"],
        ["preserve", "1 of 3", "1 of 2"],
    ]


def test_provenance_has_a_row_for_each_chain_that_was_asked_for(sweep):
    page = write_sweep_report([sweep.path], sweep.path / "report").html.read_text()
    rows = rows_after(page, "<h3>Chains</h3>")
    assert [row[1] for row in rows] == [str(number) for number in range(8)]
    assert [row[4] for row in rows] == ["finished", *(sentence.split(": ", 1)[1] for sentence in SENTENCES)]
    assert [row[5] for row in rows][-3:] == ["0 of 4"] * 3


def test_a_chain_that_another_run_of_the_folder_finished_is_finished(sweep, one_run):
    one_run(sweep.path / "again", regime="accumulate", seed=2)
    report = write_sweep_report([sweep.path], sweep.path / "report")
    assert not [sentence for sentence in report.unfinished if "accumulate, seed 2" in sentence]


def test_a_process_that_began_later_under_the_number_of_a_killed_one_is_not_its_chain(sweep):
    began = process_began(os.getpid())
    sentences = []
    for said in (began, f"{began}0"):
        sweep.write_process(4, ChainProcess(HERE, 1, STARTED, os.getpid(), began=said))
        report = write_sweep_report([sweep.path], sweep.path / "report")
        sentences += [sentence for sentence in report.unfinished if sentence.startswith("preserve, seed 0")]
    assert [sentence.split(": ")[1].split(" in ")[0] for sentence in sentences] == ["running", "killed"]


def test_where_no_chain_has_finished_a_generation_the_error_says_what_became_of_each(tmp_path, dead):
    folder = SweepFolder(tmp_path)
    folder.begin("python sweep.py", [planned("replace", seed, seed) for seed in (0, 1)])
    folder.chain(0).mkdir()
    folder.write_process(0, ChainProcess(HERE, dead, STARTED, dead, ENDED, 2, "no such file"))
    with pytest.raises(UserError, match="nothing to report") as refusal:
        write_sweep_report([tmp_path], tmp_path / "report")
    assert str(refusal.value).splitlines()[1:] == [
        "  replace, seed 0 (0): failed in generation 0 of 3: no such file",
        "  replace, seed 1 (1): has not begun",
    ]


def test_a_damaged_grid_is_named(sweep):
    (sweep.path / "grid.json").write_text("{")
    with pytest.raises(UserError, match=r"grid\.json is damaged"):
        write_sweep_report([sweep.path], sweep.path / "report")
