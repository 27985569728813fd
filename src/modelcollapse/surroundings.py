"""What libraries read from environment, home and working folder, and what is done so that none of it decides a result.

:data:`READINGS` says it of each library. :func:`sealed` takes variables away while work is done, before libraries read
them, and puts them back after. What stays, and can change the rounding as another processor would, is written into the
manifests of artifacts (:func:`recorded`).
"""

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

Place = Literal["environment", "working folder", "home", "process"]
"""Where something is read from; ``process`` is what a notebook or script has set by calls before."""
Answer = Literal["removed", "given", "ignored", "bound", "in the key", "recorded", "no result"]
ANSWERS: Mapping[Answer, str] = MappingProxyType(
    {
        "removed": "the variable is not there while work is done",
        "given": "we give the value, and ours wins",
        "ignored": "the file is not read",
        "bound": "whatever it says, one number holds, which the manifest has",
        "in the key": "another value is another artifact",
        "recorded": "it can change rounding, as another processor does; the manifest holds it under `execution`",
        "no result": "speed, messages, places or access: it stays as it is",
    }
)


@dataclass(frozen=True)
class Reading:
    """Something outside the recipe that a library reads, and what is done about it."""

    library: str
    place: Place
    names: tuple[str, ...]
    """Variables or files; with ``*`` at its end all variables that begin so. Longer names win over shorter ones."""
    answer: Answer
    what: str
    """What it decides, and what is done."""

    def __post_init__(self) -> None:
        if not self.names or not self.what or self.answer not in ANSWERS:
            raise ValueError(f"{self} lacks a name, an explanation or an answer")


def _of(library: str, place: Place, names: str, answer: Answer, what: str) -> Reading:
    return Reading(library, place, tuple(names.split()), answer, what)


READINGS: tuple[Reading, ...] = (
    _of(
        "Python", "environment", "PYTHONPATH PYTHONSAFEPATH", "given", "children import nothing from the working folder"
    ),
    _of(
        "Python",
        "environment",
        "PYTHONWARNINGS PYTHONINSPECT PYTHONSTARTUP PYTHONBREAKPOINT",
        "removed",
        "prompts of children; warnings that are errors, here too",
    ),
    _of("Python", "environment", "PYTHONHASHSEED", "no result", "the order of sets; nothing follows it"),
    _of(
        "Python",
        "environment",
        "PYTHONUTF8 PYTHONIOENCODING LANG LC_*",
        "no result",
        "encodings; text files name theirs, and what cannot be printed is replaced",
    ),
    _of(
        "Python",
        "environment",
        "TMPDIR HOME XDG_* TZ",
        "no result",
        "places and times of day; without a home one is lent",
    ),
    _of(
        "C library",
        "environment",
        "LD_PRELOAD DYLD_INSERT_LIBRARIES GLIBC_TUNABLES",
        "recorded",
        "exp and log of another library or processor",
    ),
    _of(
        "OpenMP",
        "environment",
        "OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS OPENBLAS_DEFAULT_NUM_THREADS GOTO_NUM_THREADS"
        " BLIS_NUM_THREADS VECLIB_MAXIMUM_THREADS",
        "bound",
        "`trainer.threads`, else torch's number, binds torch and the BLAS of NumPy and SciPy",
    ),
    _of("OpenMP", "environment", "OMP_* KMP_* GOMP_*", "recorded", "how loops are divided among threads"),
    _of(
        "OpenMP",
        "environment",
        "KMP_DUPLICATE_LIB_OK KMP_INIT_AT_FORK",
        "no result",
        "what scikit-learn sets when it is imported, so that several copies of OpenMP get on with each other",
    ),
    _of("BLAS", "environment", "MKL_* OPENBLAS_* BLIS_*", "recorded", "kernels of another processor (`MKL_CBWR`, ...)"),
    _of("NumPy", "environment", "NPY_*", "recorded", "instructions of another processor"),
    _of("NumPy", "process", "seterr", "given", "numpy's own, while work is done"),
    _of("SciPy", "environment", "SCIPY_*", "removed", "other arrays, other defaults"),
    _of("scikit-learn", "environment", "SKLEARN_*", "removed", "checks left out, sizes of chunks"),
    _of("pandas", "environment", "PANDAS_*", "removed", "defaults of versions to come"),
    _of("pyarrow", "environment", "ARROW_*", "no result", "memory and instructions of readers and writers"),
    _of(
        "torch",
        "environment",
        "ATEN_CPU_CAPABILITY ONEDNN_* DNNL_* TORCH_MKLDNN_* TORCH_LINEAR_* TORCH_LINALG_* TORCH_BLAS_*",
        "recorded",
        "kernels of another processor",
    ),
    _of(
        "torch",
        "environment",
        "CUBLAS_* CUDNN_* TORCH_CUDNN_* NCCL_* FLASH_ATTENTION_DETERMINISTIC PYTORCH_TUNABLEOP_*",
        "recorded",
        "kernels of GPUs",
    ),
    _of(
        "torch",
        "environment",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE NVIDIA_TF32_OVERRIDE ONEDNN_DEFAULT_FPMATH_MODE DNNL_DEFAULT_FPMATH_MODE",
        "removed",
        "less than float32 where float32 is named; `trainer.precision` chooses",
    ),
    _of(
        "torch",
        "environment",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD TORCH_FORCE_WEIGHTS_ONLY_LOAD",
        "removed",
        "whether pickles run; every call says weights only",
    ),
    _of(
        "torch",
        "environment",
        "PYTORCH_JIT* PYTORCH_TENSOREXPR* TORCHDYNAMO_* TORCHINDUCTOR_* TORCH_COMPILE* TORCH_CUDA_SANITIZER",
        "removed",
        "compilers, which nothing here uses",
    ),
    _of(
        "torch",
        "environment",
        "TORCH_DEVICE_BACKEND_AUTOLOAD CUDA_VISIBLE_DEVICES PYTORCH_* TORCH_HOME TORCH_CPP_LOG_LEVEL",
        "no result",
        "devices (the manifest names the one used), memory, places, messages; installed backends are trusted",
    ),
    _of(
        "torch",
        "process",
        "set_default_dtype set_default_device set_float32_matmul_precision set_grad_enabled"
        " use_deterministic_algorithms set_num_threads",
        "given",
        "a new process's, while work is done",
    ),
    _of(
        "Lightning",
        "environment",
        "PL_* LT_*",
        "removed",
        "arguments of trainers, seeds; every argument is given as well",
    ),
    _of(
        "Lightning",
        "environment",
        "RANK LOCAL_RANK GROUP_RANK NODE_RANK ROLE_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT"
        " STANDALONE_PORT TORCHELASTIC_* JSM_NAMESPACE_* SLURM_PROCID SLURM_LOCALID SLURM_NODEID",
        "removed",
        "which process of several this is: `rank_zero_only.rank` is set as well",
    ),
    _of(
        "Lightning", "environment", "SLURM_*", "ignored", "signals and requeueing; the trainer's cluster is one machine"
    ),
    _of("Lightning", "working folder", "hpc_ckpt_*.ckpt", "ignored", "the folder for checkpoints is new and empty"),
    _of(
        "transformers",
        "environment",
        "TRANSFORMERS_* ACCELERATE_* FSDP_* DISABLE_KERNEL_MAPPING TRUST_REMOTE_CODE USE_TF USE_TORCH USE_JAX"
        " USE_TORCH_XLA",
        "removed",
        "kinds of attention, distribution, code of downloads",
    ),
    _of("transformers", "environment", "USE_HUB_KERNELS", "given", "no kernels are fetched from the hub"),
    _of(
        "transformers",
        "environment",
        "TRANSFORMERS_OFFLINE TRANSFORMERS_CACHE TRANSFORMERS_VERBOSITY",
        "no result",
        "access, places, messages",
    ),
    _of(
        "transformers", "working folder", "OWNER/NAME", "in the key", "a folder by the name of a repository, by content"
    ),
    _of("datasets", "environment", "HF_DATASETS_*", "removed", "kinds of reading; caches are new and empty"),
    _of("datasets", "environment", "HF_DATASETS_OFFLINE HF_DATASETS_CACHE", "no result", "access, places"),
    _of("datasets", "working folder", "OWNER/NAME", "in the key", "a folder by the name of a repository, by content"),
    _of(
        "huggingface_hub",
        "environment",
        "HF_ENDPOINT",
        "recorded",
        "the server; a repository is named by its commit, files are verified, and the manifest fingerprints them",
    ),
    _of(
        "huggingface_hub", "environment", "HUGGINGFACE_CO_STAGING HF_HUB_ENABLE_HF_TRANSFER", "removed", "other servers"
    ),
    _of(
        "huggingface_hub",
        "environment",
        "HF_* HUGGINGFACE_* HUGGING_FACE_*",
        "no result",
        "access, places, messages; files of the cache are verified",
    ),
    _of(
        "huggingface_hub",
        "home",
        ".cache/huggingface",
        "ignored",
        "but for fetched files, which are verified, and a login",
    ),
    _of("tokenizers", "environment", "TOKENIZERS_PARALLELISM RAYON_*", "no result", "speed"),
    _of("Numba", "environment", "NUMBA_*", "removed", "`DISABLE_JIT`, `OPT`, `CPU_NAME`, `BOUNDSCHECK` and all others"),
    _of("Numba", "environment", "NUMBA_CACHE_DIR", "no result", "a place; what it holds has checksums"),
    _of("Numba", "working folder", ".numba_config.yaml", "ignored", "all of these, read at each compilation"),
    _of("Numba", "home", ".cache/modelcollapse", "no result", "compiled loops; damaged files are made again"),
    _of("matplotlib", "environment", "MPLBACKEND", "given", "commands draw into files, notebooks on what they have"),
    _of(
        "matplotlib",
        "environment",
        "MATPLOTLIBRC MPLCONFIGDIR",
        "ignored",
        "matplotlib's own style and ours are in force",
    ),
    _of("matplotlib", "working folder", "matplotlibrc", "ignored", "matplotlib's own style and ours are in force"),
    _of("matplotlib", "home", ".config/matplotlib .cache/matplotlib", "ignored", "fonts come with matplotlib"),
    _of("wandb", "environment", "WANDB_*", "no result", "a view; `tracking` says what of them is used"),
    _of("wandb", "working folder", "wandb/settings .wandb/settings", "ignored", "they could name another server"),
    _of("wandb", "home", ".config/wandb/settings .netrc", "no result", "login and defaults of a view"),
    _of(
        "Hydra",
        "environment",
        "HYDRA_INSTANTIATE_*",
        "removed",
        "what settings may call; a guard of our own refuses it",
    ),
    _of(
        "Hydra",
        "environment",
        "HYDRA_DEPRECATION_WARNINGS_AS_ERRORS SELF_WARNING_AS_ERROR OC_CAUSE",
        "removed",
        "messages",
    ),
    _of("Hydra", "environment", "HYDRA_FULL_ERROR", "given", "messages"),
    _of("rich", "environment", "COLUMNS LINES TERM NO_COLOR FORCE_COLOR TTY_*", "no result", "what is printed"),
    _of("joblib", "environment", "JOBLIB_* LOKY_*", "no result", "processes of a sweep; each chain is sealed"),
)
"""All of it, library by library; docs/surroundings.md is made of this."""

GIVEN: Mapping[str, str] = MappingProxyType({"USE_HUB_KERNELS": "NO"})
"""Variables that are set while work is done."""
OF_A_COMMAND: Mapping[str, str] = MappingProxyType({"MPLBACKEND": "agg"})
"""Those that are set where the process is ours: figures go into files, whatever screen or notebook is named."""
NUMBA_FILE, MATPLOTLIB_FILE = ".numba_config.yaml", "matplotlibrc"
NO_FILE = str(Path(__file__).parent / "no.file")
"""The path of no file."""
_PASSWORD = re.compile(r"(?<=//)[^/@]*@")


def answer_of(variable: str) -> Answer | None:
    """What is done about an environment variable; None for one that no library of :data:`READINGS` reads."""
    exact = _BY_NAME.get(variable)
    if exact is not None:
        return exact
    beginnings = [start for start in _BY_BEGINNING if variable.startswith(start)]
    return _BY_BEGINNING[max(beginnings, key=len)] if beginnings else None


_VARIABLES = [(name, each.answer) for each in READINGS if each.place == "environment" for name in each.names]
_BY_NAME = {name: answer for name, answer in _VARIABLES if not name.endswith("*")}
_BY_BEGINNING = {name[:-1]: answer for name, answer in _VARIABLES if name.endswith("*")}


def recorded() -> dict[str, str]:
    """The variables of this process that can change rounding, for manifests; empty where there are none."""
    found = {name: value for name, value in os.environ.items() if value and answer_of(name) == "recorded"}
    return {name: _PASSWORD.sub("", found[name]) for name in sorted(found)}


@contextmanager
def sealed() -> Iterator[None]:
    """Within the block, nothing of the surroundings decides a result; after it the environment is as it was.

    Libraries that are imported within it read a clean environment. Of those that were imported before, what they have
    read is put right where it can be: Numba compiles by its own settings, and then by the user's again.
    """
    with ExitStack() as kept:
        kept.enter_context(_environment(GIVEN))
        kept.enter_context(_home())
        kept.enter_context(_warnings())
        kept.enter_context(_numba())
        yield


@contextmanager
def own_process() -> Iterator[None]:
    """The seal of a command, whose process is ours: it also takes away what a notebook may keep."""
    _OWN.append(True)
    try:
        with _environment(OF_A_COMMAND), sealed():
            yield
    finally:
        _OWN.pop()


_OWN: list[bool] = []
"""Not empty in the process of a command."""


def own_matplotlib() -> None:
    """In the process of a command, import matplotlib without any file of settings, where there is one.

    Our figures have a style of their own; a file that is no text, or a pipe, would end or stop the import itself.
    """
    if not _OWN or "matplotlib" in sys.modules:
        return
    settings = os.environ.get("MPLCONFIGDIR") or Path.home() / ".config" / "matplotlib"
    files = (MATPLOTLIB_FILE, os.environ.get("MATPLOTLIBRC", ""), Path(settings) / MATPLOTLIB_FILE)
    spec = find_spec("matplotlib")
    if any(os.path.lexists(file) for file in files) and spec and spec.origin:
        # Its own file lies there, and is found first.
        with chdir(Path(spec.origin).parent / "mpl-data"):
            import_module("matplotlib")


def own_numba() -> Any:
    """Numba; where it is imported for the first time, by its own settings and without a file of the working folder."""
    if "numba" in sys.modules:
        return sys.modules["numba"]
    if os.path.lexists(NUMBA_FILE):
        with chdir(Path(__file__).parent):
            numba = import_module("numba")
    else:
        numba = import_module("numba")
    seal_numba(numba.core.config)
    return numba


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Within the block, without the variables that are removed and with those that are given."""
    removed = [name for name in os.environ if answer_of(name) == "removed"]
    before = {name: os.environ.get(name) for name in (*removed, *given, *_SET_LATER)}
    for name in removed:
        del os.environ[name]
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


_SET_LATER = ("OPENBLAS_NUM_THREADS",)
"""Set while work is done, once settings are known."""


@contextmanager
def _home() -> Iterator[None]:
    """Lend a home to a user that has none: a number of a container that no one has given a name, and no HOME.

    Libraries would make a folder ``~`` in the working folder, or fail.
    """
    if Path(os.path.expanduser("~")).is_absolute():  # noqa: PTH111 - Path.home() raises where there is none
        yield
        return
    with tempfile.TemporaryDirectory(prefix="modelcollapse-home-", ignore_cleanup_errors=True) as home:
        before = os.environ.get("HOME")
        os.environ["HOME"] = home
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before


@contextmanager
def _warnings() -> Iterator[None]:
    """Within the block, warnings of libraries are no errors, here or in processes that are started."""
    options = list(sys.warnoptions)
    with warnings.catch_warnings():
        if any(action == "error" for action, *_ in warnings.filters):
            warnings.simplefilter("default")
        sys.warnoptions.clear()
        try:
            yield
        finally:
            sys.warnoptions[:] = options


@contextmanager
def _numba() -> Iterator[None]:
    """Within the block, Numba compiles by its own settings, whatever the environment, a file or a program has said."""
    config = sys.modules.get("numba.core.config")
    before = _numba_settings(config) if config else None
    if config:
        seal_numba(config)
    try:
        yield
    finally:
        if config := sys.modules.get("numba.core.config"):
            _unseal_numba(config, before)


def seal_numba(config: Any) -> None:
    """Let Numba's module of settings read no file, and forget what it has read; compiled code stays as it is."""
    config._config_fname = NO_FILE
    config._env_reloader.update(force=True)


def _unseal_numba(config: Any, before: tuple[dict[str, Any], dict[str, str]] | None) -> None:
    """Give back the settings of before, or those that importing it would have found."""
    config._config_fname = NUMBA_FILE
    if before is not None:
        settings, config._env_reloader.old_environ = before
        vars(config).update(settings)
        return
    with suppress(Exception):
        # Of a file that cannot be read; Numba raises it again where it is next used.
        config.reload_config()


def _numba_settings(config: Any) -> tuple[dict[str, Any], dict[str, str]]:
    settings = {name: value for name, value in vars(config).items() if name.isupper()}
    return settings, dict(config._env_reloader.old_environ)
