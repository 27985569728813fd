"""Artifacts, downloads and settings are data: what is planted in them never runs. Secrets are written nowhere."""

import os
import pickle
import shutil
import subprocess
import sys

import pytest
from tiny_chains import CHAINS, recorded

from conftest import EXECUTION, ROOT, TINY_SMALL_OPT, run_command
from modelcollapse.config.guard import foreign_code
from modelcollapse.store.claims import release, try_claim


class Malice:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self._marker = str(marker)

    def __reduce__(self):
        return os.mknod, (self._marker,)


@pytest.fixture
def marker(tmp_path):
    """A file that must never come to be; pickles that would make it do so elsewhere, as a check on themselves."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Malice(proof)))  # noqa: S301
    assert proof.exists()
    return tmp_path / "ran"


def plant_everywhere(folder, content):
    """Put the content in the place of every file below the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for path in paths:
        path.write_bytes(content)
    return paths


# ---- the store ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["language_model", "gaussian"])
def test_pickles_in_the_place_of_every_file_of_a_store_do_not_run(tmp_path, marker, family):
    def run(name):
        words = [*CHAINS[family], f"paths.store={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / name}"]
        return run_command(words, tmp_path, tmp_path / name)

    first = run("first")
    for kind in [
        path for path in (tmp_path / "store").iterdir() if path.is_dir() and path.name not in ("locks", "runs")
    ]:
        assert plant_everywhere(kind, pickle.dumps(Malice(marker))) or kind.name == "progress"
    again = run("again")
    assert again.code == 0, again.err
    assert recorded(again.folder) == recorded(first.folder)
    assert not marker.exists()


def test_pickles_beside_the_files_of_a_store_do_not_run(tmp_path, marker):
    """Files that libraries look for by name, such as pytorch_model.bin."""

    def run(name, *more):
        words = [*CHAINS["language_model"], f"paths.store={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / name}"]
        return run_command([*words, *more], tmp_path, tmp_path / name)

    run("first")
    for folder in [path.parent for path in (tmp_path / "store").glob("[mt]*/*/manifest.json")]:
        for name in ("pytorch_model.bin", "optimizer.pt", "vocab.pkl", "training_args.bin", "adapter_model.bin"):
            (folder / name).write_bytes(pickle.dumps(Malice(marker)))
    again = run("again", "generations=2")
    assert again.code == 0, again.err
    assert "is not in the manifest" in again.out
    assert not marker.exists()


# ---- downloads ------------------------------------------------------------------------------------------------


READ = ("model.safetensors", "tokenizer.json", "special_tokens_map.json")
BESIDE = (
    "pytorch_model.bin",
    "adapter_model.bin",
    "tokenizer.model",
    "vocab.json",
    "vocab.pkl",
    "merges.txt",
    "training_args.bin",
)
"""Files that libraries look for, in place of those that are read or beside them."""


@pytest.fixture
def download(pretrained, texts, tmp_path):
    """A folder as the hub has it to plant in, and words of a chain from it."""
    folder = tmp_path / "download"
    shutil.copytree(pretrained, folder)
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    own = ("model.base=null", "model.architecture=null", "model.tokenizer.kind=pretrained")
    pretrained_words = (*own, "model.tokenizer.vocabulary_size=null", f"model.pretrained={folder}", "generations=0")
    base = f"model.base.text={texts / 'base.txt'}"
    return folder, (*TINY_SMALL_OPT, *files, base, *pretrained_words)


def check_nothing_runs(train, words, folder, marker, names):
    for name in names:
        (folder / name).write_bytes(pickle.dumps(Malice(marker)))
    finished = train(*words)
    assert "Traceback" not in finished.err
    assert finished.code in (0, 2)
    assert not marker.exists()


@pytest.mark.parametrize("names", [*((name,) for name in READ), BESIDE], ids=[*READ, "beside those that are read"])
def test_pickles_in_a_download_do_not_run(train, download, marker, names):
    folder, words = download
    check_nothing_runs(train, words, folder, marker, names)


@pytest.mark.parametrize("name", [*READ, *BESIDE])
def test_a_pickle_in_a_download_that_holds_nothing_else_does_not_run(train, download, marker, name):
    folder, words = download
    for path in folder.iterdir():
        if path.suffix in (".safetensors", ".bin") or path.name.startswith(("tokenizer", "vocab", "merges")):
            path.unlink()
    check_nothing_runs(train, words, folder, marker, [name])


CODE = "import os\nos.mknod({marker!r})\nclass Anything: pass\n"
AUTO_MAP = {
    "config.json": '"auto_map": {"AutoConfig": "planted.Anything", "AutoModelForCausalLM": "planted.Anything"}, ',
    "tokenizer_config.json": '"auto_map": {"AutoTokenizer": ["planted.Anything", "planted.Anything"]}, ',
}


@pytest.mark.parametrize("name", AUTO_MAP)
def test_code_in_a_download_does_not_run_whatever_the_environment_says(train, download, marker, name, monkeypatch):
    folder, words = download
    (folder / "planted.py").write_text(CODE.format(marker=str(marker)))
    path = folder / name
    path.write_text(path.read_text().replace("{", "{" + AUTO_MAP[name], 1))
    for variable in ("TRUST_REMOTE_CODE", "HF_TRUST_REMOTE_CODE", "HF_DATASETS_TRUST_REMOTE_CODE"):
        monkeypatch.setenv(variable, "1")
    finished = train(*words)
    assert "Traceback" not in finished.err
    assert finished.code in (0, 2)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["", "model.", "data.", "model.tokenizer.", "trainer."])
def test_remote_code_cannot_be_switched_on(train, tiny, place):
    refused = train(*tiny, f"+{place}trust_remote_code=true")
    assert refused.code == 2
    assert f"{place}trust_remote_code: no such setting" in refused.err


def test_no_module_of_the_project_trusts_remote_code_or_unpickles():
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        for words in (
            "trust_remote_code=True",
            "weights_only=False",
            "import pickle",
            "allow_pickle=True",
            "import joblib",
        ):
            assert words not in text.replace("weights_only=False,  #", ""), (path, words)


# ---- settings -------------------------------------------------------------------------------------------------


COPY = "_target_: shutil.copyfile\nsrc: {source}\ndst: {marker}\n"
"""What Hydra's own list of forbidden functions does not hold."""
CALLS = {
    "anywhere": ["+x._target_=shutil.copyfile", "+x.src={source}", "+x.dst={marker}"],
    "in a group": ["+model._target_=shutil.copyfile", "+model.src={source}", "+model.dst={marker}"],
    "a callback": [
        "+hydra.callbacks.x._target_=shutil.copyfile",
        "+hydra.callbacks.x.src={source}",
        "+hydra.callbacks.x.dst={marker}",
    ],
    "a launcher": ["hydra.launcher._target_=shutil.copyfile", "+hydra.launcher.src={source}", "--multirun"],
    "a sweeper": ["hydra.sweeper._target_=shutil.copyfile", "+hydra.sweeper.src={source}", "--multirun"],
    "a handler of the log": [
        "+hydra.job_logging.handlers.x.()=shutil.copyfile",
        "+hydra.job_logging.handlers.x.src={source}",
        "+hydra.job_logging.handlers.x.dst={marker}",
    ],
    "a class of the log": ["+hydra.hydra_logging.handlers.x.class=shutil.copyfile"],
    "a module of the log": ["+hydra.job_logging.handlers.x.stream=ext://antigravity.fly"],
    "a file of settings": ["--config-dir={folder}", "+experiment=planted"],
    "settings of Hydra in a file": ["--config-dir={folder}", "+experiment=planted_callback"],
}


@pytest.mark.parametrize("script", ["train.py", "sweep.py"])
@pytest.mark.parametrize("name", CALLS)
def test_settings_call_no_code(repository, tmp_path, marker, name, script):
    source = tmp_path / "source"
    source.write_text("x")
    folder = tmp_path / "settings" / "experiment"
    folder.mkdir(parents=True)
    call = COPY.format(source=source, marker=marker)
    indented = call.replace("\n", "\n      ")
    (folder / "planted.yaml").write_text(f"# @package _global_.model\n{call}")
    (folder / "planted_callback.yaml").write_text(
        f"# @package _global_\nhydra:\n  callbacks:\n    x:\n      {indented}\n"
    )
    names = {"source": source, "marker": marker, "folder": tmp_path / "settings"}
    words = [word.format(**names) for word in CALLS[name]]
    typed = [sys.executable, str(repository / script), *EXECUTION, "plan=true", *words]
    answer = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert not marker.exists()
    assert answer.returncode not in (0, None), answer.stdout
    assert "Traceback" not in answer.stderr, answer.stderr


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"a": {"_target_": "os.system"}}, "a._target_"),
        ({"hydra": {"launcher": {"_target_": "hydra_plugins_evil.Launcher"}}}, "hydra.launcher._target_"),
        ({"hydra": {"launcher": {"_target_": "${oc.env:X}"}}}, "hydra.launcher._target_"),
        ({"hydra": {"sweeper": {"sampler": {"_target_": "a.b"}}}}, "hydra.sweeper.sampler._target_"),
        (
            {"hydra": {"callbacks": {"x": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}}}},
            "",
        ),
        ({"a": [{"b": {"_target_": 3}}]}, "a.0.b._target_"),
        ({"hydra": {"job_logging": {"formatters": {"x": {"()": "a.b"}}}}}, "hydra.job_logging.formatters.x.()"),
    ],
)
def test_what_would_call_code_is_found_wherever_it_is(values, path):
    (problem,) = foreign_code(values)
    assert problem.startswith(path)


def test_the_plugins_of_hydra_may_be_chosen():
    for plugin in ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", "hydra_plugins.x.Launcher"):
        assert not list(foreign_code({"hydra": {"launcher": {"_target_": plugin}}}))


# ---- secrets --------------------------------------------------------------------------------------------------


SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "MY_SERVICE_PASSWORD": "correct horse battery staple",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "DB_PASS": "it's written nowhere",
    "GITHUB_PAT": "github_pat_11ABCDEFG0aBcDeF",
}
IN_A_URL = "password-of-a-database"


@pytest.fixture
def program(repository, tmp_path):
    """Run a script with secrets in its environment; the answer, after a check that none of them was written."""

    def run(*words, script="train.py"):
        environment = {
            **os.environ,
            **SECRETS,
            "DATABASE_URL": f"postgresql://me:{IN_A_URL}@db/x",
            "HOME": str(tmp_path / "home"),
        }
        typed = [sys.executable, str(repository / script), *words]
        answer = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, timeout=300)
        written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        for name, secret in {**SECRETS, "DATABASE_URL": IN_A_URL}.items():
            assert not [path for path, content in written.items() if secret.encode() in content], name
            assert secret.encode() not in answer.stdout + answer.stderr, name
        return answer

    return run


WITHOUT_TRACKING = [word for word in CHAINS["gaussian"] if not word.startswith("tracking")]


@pytest.mark.parametrize("ending", ["finished", "failed"])
def test_no_secret_of_the_environment_is_written(program, tmp_path, ending):
    if ending == "failed":
        try_claim(tmp_path / "store", "store")
        release(tmp_path / "store")
        (tmp_path / "store" / "model").write_text("no folder")
    answer = program(*WITHOUT_TRACKING, "tracking.mode=offline")
    assert (answer.returncode == 0) is (ending == "finished"), answer.stderr
    assert list(tmp_path.glob("outputs/*/*/wandb/*")), "W&B wrote nothing: nothing could be found"


def test_no_secret_of_the_environment_is_written_by_a_sweep(program, tmp_path):
    """The second chain fails: where its store should be there is a file."""
    (tmp_path / "occupied").write_text("no folder")
    stores = f"paths.store={tmp_path / 'store'},{tmp_path / 'occupied'}"
    answer = program(*WITHOUT_TRACKING, "tracking.mode=offline", "generations=1", "seed=0", stores, script="sweep.py")
    assert answer.returncode != 0
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"grid.json", "process.json", "report.html", "chain.json"} <= left, left
    assert list(tmp_path.rglob("*.wandb")), "W&B wrote nothing: nothing could be found"


@pytest.mark.parametrize(
    "words",
    [
        ("name=${oc.env:HF_TOKEN}",),
        ("seed=${oc.env:HF_TOKEN}",),
        ("tracking.tags=[a,${oc.env:MY_SERVICE_PASSWORD}]",),
        (f"data.name={SECRETS['WANDB_API_KEY']}",),
        (f"data.name='of {SECRETS['WANDB_API_KEY']} and more'", "seed=x"),
        (f"sead={SECRETS['WANDB_API_KEY']}",),
        (f"model={SECRETS['HF_TOKEN']}",),
    ],
)
def test_a_secret_in_the_settings_is_refused_and_not_repeated(program, tmp_path, words):
    answer = program(*WITHOUT_TRACKING, *words)
    assert answer.returncode == 2
    assert b"Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [f"data.name=a,{SECRETS['WANDB_API_KEY']}", "seed=0,${oc.env:HF_TOKEN}"])
def test_a_secret_in_one_chain_of_a_grid_refuses_the_grid(program, tmp_path, words):
    answer = program(*WITHOUT_TRACKING, words, script="sweep.py")
    assert answer.returncode == 2
    assert b"Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())


def test_a_refused_secret_is_named(program):
    secret = SECRETS["MY_SERVICE_PASSWORD"]
    said = program(*WITHOUT_TRACKING, f"tracking.tags=[a,'{secret}']").stderr.decode()
    assert "tracking.tags[1]: holds the secret MY_SERVICE_PASSWORD of the environment" in said
