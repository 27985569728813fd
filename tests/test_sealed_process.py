"""What libraries read beside the recipe: each variable has an answer, and what a seal takes away it puts back."""

import os
import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numba
import pytest
from numba.core import config

from modelcollapse.commands import surroundings_document
from modelcollapse.compiled import compiled
from modelcollapse.surroundings import READINGS, answer_of, own_process, recorded, sealed

READ = re.compile(r"""environ(?:\.get|\.pop|\.setdefault)?[\[(]\s*["']([A-Za-z_0-9]+)|getenv\(\s*["']([A-Za-z_0-9]+)""")
LIBRARIES = ("lightning_fabric", "pytorch_lightning", "lightning_utilities", "torchmetrics", "datasets", "matplotlib")
BESIDE = re.compile(
    # Loggers and launchers that chains do not use, tests, platforms that are not supported.
    "CI|COMET_.*|MLFLOW_.*|COLAB_.*|.*TEST.*|APPVEYOR|TF_BUILD|TF_CPP_.*|XLA_.*|PT_XLA_.*|LSB_JOBID|LOCALAPPDATA|WINDIR"
    "|SKIP_SLOW_DOCTEST|FREEZE_REQUIREMENTS|DOWNLOAD_TIMEOUT|BITSANDBYTES_NOWELCOME|PICKLE_FILE_PATH"
    # Windows that figures are not shown in, bars that are not drawn, messages, places.
    "|DISPLAY|WAYLAND_DISPLAY|QT_.*|TQDM_.*|POSSIBLE_USER_WARNINGS|DATASETS_VERBOSITY|TMP|TEMP|_?MPL_?(HIDE|IGNORE_SYS).*"
    # Apple's devices, which nothing here uses; how ranks meet, which we arrange; dates in files, which are left out.
    "|DISABLE_MPS|USE_LIBUV|CUDA_DEVICE_ORDER|SOURCE_DATE_EPOCH"
)
"""Variables that libraries read where it does not concern a chain."""


def variables_of(library):
    """The variables that the Python files of a library name where they read the environment."""
    folder = Path(find_spec(library).origin).parent
    texts = (path.read_text("utf-8", "replace") for path in folder.rglob("*.py") if "tests" not in path.parts)
    return {first or second for text in texts for first, second in READ.findall(text)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_variable_that_a_library_reads_has_an_answer(library):
    unanswered = {name for name in variables_of(library) if answer_of(name) is None and not BESIDE.fullmatch(name)}
    assert unanswered == set()


def test_the_page_is_made_of_the_table(repository):
    made = "python -m modelcollapse.commands.surroundings_document > docs/surroundings.md"
    assert surroundings_document.page() == (repository / "docs" / "surroundings.md").read_text("utf-8"), made


def test_the_most_exact_name_answers():
    assert [answer_of(name) for name in ("MKL_CBWR", "MKL_NUM_THREADS", "PL_TRAINER_MAX_STEPS", "EDITOR")] == [
        "recorded",
        "bound",
        "removed",
        None,
    ]
    names = [(each.place, name) for each in READINGS if each.place == "environment" for name in each.names]
    assert len(names) == len({*names})


def test_a_seal_takes_variables_away_and_puts_them_back(monkeypatch):
    planted = {
        "PL_GLOBAL_SEED": "7",
        "RANK": "1",
        "NUMBA_DISABLE_JIT": "1",
        "USE_HUB_KERNELS": "YES",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "NUMBA_CACHE_DIR": "kept",
        "MPLBACKEND": "svg",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with own_process():
        seen = {name: os.environ[name] for name in planted if name in os.environ}
    assert seen == {"USE_HUB_KERNELS": "NO", "NUMBA_CACHE_DIR": "kept", "MPLBACKEND": "agg"}
    with sealed():
        assert os.environ["MPLBACKEND"] == "svg"
    assert dict(os.environ) == before


def test_what_changes_rounding_is_recorded_without_passwords(monkeypatch):
    for name in [name for name in os.environ if answer_of(name) == "recorded"]:
        monkeypatch.delenv(name)
    assert recorded() == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:password@mirror.example/hub")
    assert recorded() == {"HF_ENDPOINT": "https://mirror.example/hub", "MKL_CBWR": "COMPATIBLE"}


def test_warnings_are_no_errors_within_a_seal(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        with sealed(), warnings.catch_warnings(record=True) as caught:
            warnings.warn("a library's", stacklevel=1)
            assert sys.warnoptions == []
        assert (len(caught), warnings.filters, sys.warnoptions) == (1, filters, ["error"])


def test_numba_compiles_by_its_own_settings_and_then_by_the_users(tmp_path, monkeypatch):
    (tmp_path / ".numba_config.yaml").write_text("disable_jit: 1\nopt: '0'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    monkeypatch.setattr(config, "BOUNDSCHECK", 1)
    before = config._env_reloader.old_environ
    with sealed():
        product = compiled(lambda first, second: first * second)
        assert product(2.0, 3.0) == 6.0
        assert product.nopython_signatures
        assert (config.DISABLE_JIT, config.OPT, config.BOUNDSCHECK) == (0, 3, None)
    assert (config.DISABLE_JIT, config.BOUNDSCHECK, config._env_reloader.old_environ) == (1, 1, before)
    monkeypatch.setattr(config, "DISABLE_JIT", 0)
    numba.njit(lambda first: first)(1)
    # Their next compilation reads the file of theirs.
    assert (config.DISABLE_JIT, int(config.OPT)) == (1, 0)
    (tmp_path / ".numba_config.yaml").unlink()
    config.reload_config()


def test_a_user_without_a_home_is_lent_one(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with sealed():
        home = Path(os.environ["HOME"])
        assert home.is_dir()
    assert not home.exists()
    assert "HOME" not in os.environ
