"""Surroundings of a run decide nothing: caches, variables, the locale, the working folder; and sources that change."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
import pytest
import torch
from tiny_chains import CHAINS, recorded

import modelcollapse as mc
from conftest import EXECUTION, tiny_opt
from modelcollapse import compiled
from modelcollapse.data.images import ImageFiles
from modelcollapse.data.tokenizers import train_byte_pairs
from modelcollapse.families.language_model import fitting, inputs
from modelcollapse.store import Store

TEXT = "Grüße aus dem naïve café – 中文 и русский 🙂 .\n"
WORDS = (
    *EXECUTION,
    "model=opt_125m",
    "data=hub",
    "decoding=beam",
    "decoding.beams=2",
    "data.block_length=8",
    "data.train_blocks=20",
    "data.evaluation_blocks=8",
    "model.training.epochs=1",
    "model.training.generation0_epochs=1",
    "generations=1",
    "model.pretrained=owner/weights",
    "data.path=owner/text",
)


@pytest.fixture
def working_folder(tmp_path):
    """A folder with weights and a data set in letters of many alphabets, each under the name of a repository."""
    lines = [f"{number} {TEXT}" for number in range(60)]
    weights, text = tmp_path / "owner" / "weights", tmp_path / "owner" / "text"
    tokenizer = train_byte_pairs(lines, 300)
    tokenizer.save_pretrained(weights)
    tiny_opt(tokenizer).save_pretrained(weights)
    text.mkdir()
    for split in ("train", "validation", "test"):
        rows = "".join(json.dumps({"text": line}) + "\n" for line in lines)
        (text / f"{split}.jsonl").write_text(rows, encoding="utf-8")
    return tmp_path


def plant(folder):
    """What a working folder, a home and an environment may hold that libraries look at."""
    for name in ("json", "text", "view", "opt", "tokenizers_cache"):
        (folder / name).mkdir()
        (folder / name / f"{name}.py").write_text("raise SystemExit('ran')\n", encoding="utf-8")
        (folder / name / "train.jsonl").write_text('{"text": "planted"}\n', encoding="utf-8")
    for name in ("config.json", "tokenizer.json", "generation_config.json", "dataset_infos.json", "state.json"):
        (folder / name).write_text("{", encoding="utf-8")
    (folder / "owner" / "weights" / ".DS_Store").write_bytes(b"\0")
    (folder / "owner" / "text" / ".hidden.jsonl").write_text('{"text": "planted"}\n', encoding="utf-8")
    (folder / ".numba_config.yaml").write_text("disable_jit: 1\nboundscheck: 1\nopt: '0'\n", encoding="utf-8")
    # No text: matplotlib would end with it.
    (folder / "matplotlibrc").write_bytes(b"font.size: 40\n\xff\xfe")
    (folder / "hpc_ckpt_1.ckpt").write_bytes(b"planted")
    home = folder / "home"
    (home / ".config" / "matplotlib").mkdir(parents=True)
    (home / ".config" / "matplotlib" / "matplotlibrc").write_text("font.weight: bold\nfont.style: italic\n", "utf-8")
    places = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "XDG_CACHE_HOME", "HOME")
    return {
        **{name: str(home) for name in places},
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_TOKEN": "planted",
        "HF_DATASETS_IN_MEMORY_MAX_SIZE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_SYMLINKS": "1",
        "TRANSFORMERS_VERBOSITY": "debug",
        "TOKENIZERS_PARALLELISM": "true",
        "TRUST_REMOTE_CODE": "1",
        "PYTHONIOENCODING": "ascii",
        # Machine code is kept where it was before: to compile takes a minute.
        "NUMBA_CACHE_DIR": str(compiled._folder().parent),
        **LIBRARIES,
    }


LIBRARIES = {
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    "NUMBA_DISABLE_JIT": "1",
    "NUMBA_OPT": "0",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_BOUNDSCHECK": "1",
    "NUMBA_THREADING_LAYER": "none",
    "NUMBA_CACHE_LOCATOR_CLASSES": "planted.Locator",
    "MATPLOTLIBRC": "matplotlibrc",
    "MPLBACKEND": "module://planted",
    "PL_GLOBAL_SEED": "7",
    "PL_SEED_WORKERS": "1",
    "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1",
    "PL_TRAINER_PRECISION": "bf16-mixed",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "planted",
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "chain",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "TORCHELASTIC_RUN_ID": "none",
    "JSM_NAMESPACE_RANK": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "TORCH_CUDA_SANITIZER": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "PYTORCH_JIT": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "USE_HUB_KERNELS": "YES",
    "USE_TORCH": "0",
    "TRANSFORMERS_SDPA_FORCE_GQA": "1",
    "ACCELERATE_USE_FSDP": "1",
    "ACCELERATE_MIXED_PRECISION": "fp8",
    "SKLEARN_WORKING_MEMORY": "none",
    "SCIPY_ARRAY_API": "planted",
    "PANDAS_FUTURE_INFER_STRING": "planted",
    "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE": "*",
    "OC_CAUSE": "1",
    "MPLCONFIGDIR": "",
    "TMPDIR": "/nowhere",
}
"""Variables that libraries obey, or fail with, where they are there."""


def latin_locale(folder):
    """Variables of a locale in which text files would be ISO-8859-1; none where it cannot be made."""
    compiler = shutil.which("localedef")
    if compiler is None:
        return {}
    made = subprocess.run(
        [compiler, "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")], capture_output=True
    )
    return {} if made.returncode else {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"}


def test_a_chain_in_planted_surroundings_is_the_chain(working_folder, train, monkeypatch, repository):
    """Another locale, caches, variables and files beside change neither a key nor a number."""
    expected = train(*WORDS)
    assert expected.code == 0, expected.err
    keys = {manifest.key for manifest in Store(working_folder / "store").artifacts()}
    planted = {**plant(working_folder), **latin_locale(working_folder)}
    places = (f"paths.store={working_folder / 'other'}", f"hydra.run.dir={working_folder / 'run'}")
    typed = [sys.executable, str(repository / "train.py"), *WORDS, *places]
    finished = subprocess.run(
        typed, cwd=working_folder, env={**os.environ, **planted}, capture_output=True, timeout=600
    )
    assert finished.returncode == 0, finished.stderr.decode()
    figures = [f"figures/{path.name}" for path in (expected.folder / "figures").glob("*.png")]
    assert figures
    for name in ("generations.jsonl", "continuations.md", "samples.jsonl", *figures):
        assert (working_folder / "run" / name).read_bytes() == expected.bytes(name), name
    assert "ü" in (working_folder / "run" / "continuations.md").read_text("utf-8")
    assert {manifest.key for manifest in Store(working_folder / "other").artifacts()} == keys


UNKNOWN = 54321


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root becomes somebody else")
@pytest.mark.parametrize("experiment", ["paper_gaussian", pytest.param("quickstart", marks=pytest.mark.slow)])
def test_a_user_that_the_system_does_not_know_runs_a_chain(repository, train, experiment):
    """In a container: a number without a name, a home or a group."""
    with pytest.raises(KeyError):
        pwd.getpwuid(UNKNOWN)
    someone = ["setpriv", "--reuid", str(UNKNOWN), "--regid", str(UNKNOWN), "--clear-groups", sys.executable]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    words = [f"experiment={experiment}", "debug=fast", "generations=1", *EXECUTION]
    # The folders of tests are for the user alone who runs them.
    with TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        if subprocess.run([*someone, "-c", "import hydra"], cwd=place, env=environment, capture_output=True).returncode:
            pytest.skip("Python lies where nobody else may read")
        typed = [*someone, str(repository / "train.py"), *words, "paths.store=store", "hydra.run.dir=run"]
        finished = subprocess.run(typed, cwd=place, env=environment, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert "Traceback" not in finished.stderr
        lines = Path(place, "run", "generations.jsonl").read_bytes()
        assert Path(place, "run").stat().st_uid == UNKNOWN
    assert lines == train(*words).bytes()


def test_what_a_notebook_has_set_decides_nothing_and_is_there_afterwards(tmp_path, monkeypatch):
    """Defaults of torch, NumPy, matplotlib and warnings, which calls before have changed for work of their own."""
    monkeypatch.chdir(tmp_path)
    words = [word for word in CHAINS["vae"] if word != "trainer.threads=1"]
    mc.run(*words, "paths.store=plain", "trainer.threads=2", folder="run")
    libraries = (torch.get_default_dtype, torch.get_float32_matmul_precision, torch.is_grad_enabled, np.geterr)
    threads, fonts = torch.get_num_threads(), dict(matplotlib.rcParams)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        try:
            warnings.simplefilter("error")
            torch.set_default_dtype(torch.float64)
            torch.set_float32_matmul_precision("medium")
            torch.set_grad_enabled(False)
            torch.set_num_threads(1)
            matplotlib.rcParams.update(NOTEBOOK_STYLE)
            before = [read() for read in libraries]
            mc.run(*words, "paths.store=other", "trainer.threads=2", folder="again")
            assert [read() for read in libraries] == before
            assert torch.get_num_threads() == 1
            assert {name: matplotlib.rcParams[name] for name in NOTEBOOK_STYLE} == NOTEBOOK_STYLE
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_float32_matmul_precision("highest")
            torch.set_grad_enabled(True)
            torch.set_num_threads(threads)
            matplotlib.rcParams.update(fonts)
    assert recorded(tmp_path / "again") == recorded(tmp_path / "run")
    for figure in (tmp_path / "run" / "figures").glob("*.png"):
        assert (tmp_path / "again" / "figures" / figure.name).read_bytes() == figure.read_bytes(), figure.name


NOTEBOOK_STYLE = {
    "font.weight": "bold",
    "font.size": 30.0,
    "axes.grid": True,
    "savefig.dpi": 20.0,
    "lines.linewidth": 9.0,
}


# ---- sources that change while they are read ------------------------------------------------------------------------


def changing(monkeypatch, owner, name, change):
    """Change something right before a function reads it."""
    function = getattr(owner, name)

    def changed_first(*arguments, **more):
        change()
        return function(*arguments, **more)

    monkeypatch.setattr(owner, name, changed_first)


@pytest.mark.parametrize("what", ["weights", "tokenizer", "data set"])
def test_a_folder_that_changes_before_it_is_read_is_not_stored(working_folder, train, monkeypatch, what):
    weights, text = working_folder / "owner" / "weights", working_folder / "owner" / "text"
    if what == "weights":
        path, kind = weights / "config.json", "pretrained"
        changing(
            monkeypatch, fitting, "load_published", lambda: path.write_text(path.read_text("utf-8") + "\n", "utf-8")
        )
    elif what == "tokenizer":
        path, kind = weights / "tokenizer_config.json", "tokenizer"
        changing(
            monkeypatch, inputs, "load_tokenizer", lambda: path.write_text(path.read_text("utf-8") + "\n", "utf-8")
        )
    else:
        path, kind = text / "train.jsonl", "data"
        changing(
            monkeypatch,
            inputs,
            "data_of",
            lambda: path.write_text(path.read_text("utf-8").replace("aus dem", "vor dem"), "utf-8"),
        )
    refused = train(*WORDS, "generations=0")
    assert refused.code == 2
    assert "a file was changed while it was read, and nothing of it was kept" in refused.err
    assert kind not in {manifest.kind for manifest in Store(working_folder / "store").artifacts()}


def test_images_that_change_before_they_are_read_are_not_stored(train, monkeypatch, tmp_path):
    import numpy as np

    folder = tmp_path / "images"
    folder.mkdir()
    for head, rows in (("train", 80), ("t10k", 20)):
        header = bytes([0, 0, 8, 3]) + np.array([rows, 28, 28], dtype=">u4").tobytes()
        (folder / f"{head}-images-idx3-ubyte").write_bytes(header + bytes(rows * 784))
        header = bytes([0, 0, 8, 1]) + np.array([rows], dtype=">u4").tobytes()
        (folder / f"{head}-labels-idx1-ubyte").write_bytes(header + bytes(rows))
    path = folder / "train-labels-idx1-ubyte"
    changing(monkeypatch, ImageFiles, "splits", lambda: path.write_bytes(path.read_bytes()[:-1] + b"\1"))
    words = [word for word in CHAINS["vae"] if word != "data=digits"]
    refused = train(*words, "data=mnist", f"data.path={folder}")
    assert refused.code == 2
    assert "a file was changed while it was read" in refused.err
    assert not list(Store(tmp_path / "store").artifacts())
