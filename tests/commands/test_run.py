"""The command line: what it answers to mistakes, and what it leaves behind."""

import os
import shlex
import subprocess
import sys

import pytest

from conftest import run_command
from modelcollapse.command_line import started_as

HEAVY = ("torch", "transformers", "tokenizers", "datasets", "pandas", "pyarrow", "matplotlib", "wandb", "numpy")


def run_script(repository, cwd, *words, script="train.py"):
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, str(repository / script), *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


MISTAKES = {
    "a misspelt setting": (
        ("model.training.epocs=3",),
        ["model.training.epocs: no such setting", "did you mean epochs?", "learning_rate"],
    ),
    "a setting of a member that is chosen by name": (
        ("model.training.loss.gamma=0.5",),
        ["model.training.loss is a single value", "'model.training.loss={name: ..., gamma: ...}'"],
    ),
    "a misspelt setting at the top": (("sead=3",), ["sead: no such setting", "did you mean seed?", "generations"]),
    "a misspelt group": (
        ("regim=replace",),
        ["regim: no such setting", "did you mean regime?", "decoding", "experiment"],
    ),
    "a misspelt option": (
        ("regime=replase",),
        ["there is no such regime", "did you mean replace?", "accumulate_subsample", "golden_ratio"],
    ),
    "a misspelt experiment": (
        ("experiment=paper_optt",),
        ["there is no such experiment", "did you mean paper_opt?", "quickstart"],
    ),
    "a wrong value": (
        ("trainer.accelerator=gppu", "seed=x"),
        ["2 problems", "trainer.accelerator: 'gppu' is not allowed (did you mean gpu?)", "seed: 'x' is not allowed"],
    ),
    "an impossible combination": (("decoding.new_tokens=31",), ["must equal data.block_length=32"]),
    "a missing setting": (
        ("model=opt_small", "data=text_files"),
        ["data.train: must be given", "data.test: must be given", "model.base.text: must be given"],
    ),
    "a missing path": (("model=opt_125m", "data=hub"), ["data.path: must be given (data.path=...)"]),
    "words that are no override": (("seed",), ["seed"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_with_the_choices_and_leaves_nothing(repository, tmp_path, mistake):
    words, expected = MISTAKES[mistake]
    answer = run_script(repository, tmp_path, *words)
    told = answer.stdout + answer.stderr
    for text in expected:
        assert text in told
    assert answer.returncode != 0
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--cfg", "job"), ("--help",)])
def test_what_can_be_set_is_shown_and_leaves_nothing(repository, tmp_path, words):
    answer = run_script(repository, tmp_path, *words)
    assert answer.returncode == 0
    assert "repetition_penalty: 1.0" in answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported_before_the_settings_are_read(repository, tmp_path):
    code = (
        "import sys; from modelcollapse.commands.run import train; sys.argv = ['train.py', 'decoding.beams=0']\n"
        "try: train()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "decoding.beams: 0 is not allowed" in answer.stderr
    assert answer.stdout.strip() == "[]"


def test_a_finished_chain_does_without_what_computing_takes(finished_chain, tmp_path):
    _, _, words = finished_chain
    code = (
        "import sys\n"
        "from modelcollapse.commands.run import train\n"
        f"sys.argv = ['train.py', *{words}, 'hydra.run.dir={tmp_path / 'run'}']\n"
        "train()\n"
        "print(sorted({'pytorch_lightning', 'torchmetrics', 'datasets', 'wandb'} & {*sys.modules}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "nothing to compute" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[]"


def test_the_groups_are_named_in_help(repository, tmp_path):
    answer = run_script(repository, tmp_path, "--help")
    for group in ("regime", "decoding", "experiment", "golden_ratio", "paper_opt"):
        assert group in answer.stdout


@pytest.mark.parametrize(
    ("typed", "grid"),
    [
        (("modelcollapse", "train"), "modelcollapse sweep"),
        (("python", "code/train.py"), "python code/sweep.py"),
        (("python", "my flow/reminded.py"), "python 'my flow/reminded.py'"),
        (("python", "it's.py"), "python 'it'\"'\"'s.py'"),
    ],
)
def test_help_names_the_command_that_was_typed(tmp_path, typed, grid):
    with started_as(*typed):
        shown = run_command(["--help"], tmp_path, tmp_path).out
    assert f"Usage: {shlex.join(typed)} [experiment=NAME]" in shown
    assert f"{grid} a=1,2 b=3,4 runs every combination" in shown


def test_a_mistake_in_a_multirun_does_not_stop_the_others(train, tiny):
    finished = train("--multirun", *tiny, "generations=1", "decoding.beams=0,1")
    assert finished.code != 0
    assert "decoding.beams: 0 is not allowed" in finished.err
    assert (finished.folder / "1" / "generations.jsonl").is_file()
    assert not (finished.folder / "0").exists()


def test_text_that_is_not_there_is_reported_without_a_traceback(train, tiny, tmp_path):
    files = [f"data.{split}=nowhere-{split}.txt" for split in ("train", "validation", "test")]
    words = [*tiny[:3], "model=opt_small", "data=text_files", *files, "model.base.text=nowhere.txt"]
    finished = train(*words)
    assert finished.code == 2
    assert "nowhere" in finished.err
    assert "there is no such file" in finished.err
    assert "Traceback" not in finished.err
    assert not finished.folder.exists()
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_is_reported_without_a_traceback(train, tiny, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("no folder")
    finished = train(*tiny, store=blocked / "store")
    assert finished.code == 2
    assert "a-file" in finished.err
    assert "Traceback" not in finished.err


def test_folders_that_were_there_before_stay(tiny, tmp_path_factory):
    here, elsewhere = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("elsewhere")
    finished = run_command([*tiny, "plan=true", f"hydra.run.dir={elsewhere / 'run'}"], here, elsewhere / "run")
    assert finished.code == 0
    assert list(elsewhere.iterdir()) == []
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("place", [("hydra.run.dir=mine/run",), ("-m", "hydra.sweep.dir=mine/sweep")])
def test_an_empty_folder_that_was_there_before_stays(tmp_path, place):
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    words = ("experiment=paper_gaussian", "generations=1", "data.rows=10", "model.replicates=2", "plan=true")
    finished = run_command([*words, "paths.store=store", *place], tmp_path, tmp_path)
    assert finished.code == 0, finished.err
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["mine", "mine/sweep"]
