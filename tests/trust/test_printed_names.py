"""Names, tags and folders with characters that rich, matplotlib or HTML give a meaning are printed as they are."""

import io
import shlex

from rich.console import Console

from modelcollapse.record.sweep_folder import PlannedChain
from modelcollapse.sweeps.watching import ChainSeen, drawn
from modelcollapse.training.progress import stage_bar
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution

DATA, REGIME, EXPERIMENT, TAG = "corpus [/v2] :tada:", "re[/x] $a_{$ <b>", "exp [bold]", "[red]night"
NAMES = (f"data.name='{DATA}'", f"regime.name='{REGIME}'", f"name='{EXPERIMENT}'")
CHEAP = ("experiment=paper_gaussian", "generations=2", "data.rows=20", "model.replicates=4", "tracking=none")
FOLDER = "[/] [dim]s"


def test_a_run_prints_names_tags_and_folders_as_they_were_typed(train, tmp_path):
    typed = (*CHEAP, *NAMES, f"tracking.tags=[pilot,'{TAG}']")
    finished = train(*typed, store=f"'{tmp_path / FOLDER}'", folder=f"{FOLDER}/run")
    assert finished.code == 0, finished.err
    for text in (
        f"on {DATA}, regime {REGIME}, seed 0",
        f"Gaussian, regime {REGIME}, seed 0 ",
        f"record  {FOLDER}/run\n",
    ):
        assert text in finished.out
    (line,) = [line for line in finished.out.splitlines() if line.startswith("next ")]
    repeated = shlex.split(line.removeprefix("next"))
    assert [word for word in typed if word not in repeated] == []


def test_a_plan_prints_names_and_folders_as_they_were_typed(train, tmp_path):
    planned = train(*CHEAP, *NAMES, "plan=true", store=f"'{tmp_path / FOLDER}'")
    assert planned.code == 0, planned.err
    assert f"regime {REGIME}, seed 0" in planned.out
    assert f"store: {tmp_path / FOLDER}" in planned.out


def test_the_plan_of_a_grid_prints_names_and_folders_as_they_were_typed(train, tmp_path):
    words = (*CHEAP, NAMES[0], NAMES[2], f"regime.name='{REGIME}','[bold]b'", "seed=0,1", "plan=true")
    planned = train(*words, store=f"'{tmp_path / FOLDER}'", configuration="sweep")
    assert planned.code == 0, planned.err
    assert f"plan of 4 chains, store {FOLDER}\n" in planned.out
    assert f"── regime.name='{REGIME}'\n" in planned.out
    assert "── regime.name='[bold]b'\n" in planned.out


def test_the_table_of_a_running_sweep_shows_names_as_they_were_typed():
    chain = PlannedChain(0, (), (f"regime.name='{REGIME}'", "name='[red]x'"), "id", 2)
    failed = ChainSeen(chain, "failed", 1, frozenset(), None, 1.0, error="no [/such] thing")
    out = io.StringIO()
    Console(file=out, width=160).print(drawn([failed], 1.0, 5))
    assert f"regime.name='{REGIME}' name='[red]x'" in out.getvalue()
    assert "no [/such] thing" in out.getvalue()


def test_a_progress_bar_shows_its_label_as_it_is():
    out = io.StringIO()
    settings = TrainerSettings("cpu", "32-true", 1, None, True)
    with stage_bar("generation 0 · [/fit]", 1, Execution(settings, Console(file=out, force_terminal=True, width=160))):
        pass
    assert "generation 0 · [/fit]" in out.getvalue()
