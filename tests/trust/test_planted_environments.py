"""Single variables and files that libraries obey, planted one at a time beside a chain in a process of its own.

None ends it, lets it wait, or runs; keys are the same, and so are numbers, to the bit or, for those that choose other
kernels, within rounding, and then the manifests name the variable.
"""

import json
import os
import random
import subprocess
import sys
from functools import cache

import pytest
from tiny_chains import CHAINS

from conftest import ROOT, run_command
from modelcollapse import compiled
from modelcollapse.record import read_lines
from modelcollapse.store import Store
from modelcollapse.surroundings import answer_of

ESTIMATOR, NETWORK = CHAINS["gaussian_mixture"], CHAINS["vae"]
FILES = {
    ".numba_config.yaml": b"disable_jit: 1\n",
    "matplotlibrc": b"\xff\xfe",
    "wandb/settings": b"[default]\nmode = online\nbase_url = http://127.0.0.1:9\n",
    "hpc_ckpt_1.ckpt": b"planted",
    "home/.config/matplotlib/matplotlibrc": b"backend: planted\n\xff",
    "home/.config/wandb/settings": b"[default]\nmode = online\n",
    "home/.cache/matplotlib/fontlist-v390.json": b"{",
    "home/.netrc": b"machine api.wandb.ai login user password planted\n",
    "sitecustomize.py": b"raise SystemExit('ran')\n",
    "torch.py": b"raise SystemExit('ran')\n",
}
"""Path in the working folder -> content; the home is the folder ``home`` in it."""
VARIABLES = {
    ESTIMATOR: [
        "NUMBA_DISABLE_JIT=1",
        "NUMBA_OPT=0",
        "NUMBA_CPU_NAME=generic",
        "NUMBA_BOUNDSCHECK=1",
        "NUMBA_LOOP_VECTORIZE=0",
        "NUMBA_ENABLE_AVX=0",
        "NUMBA_THREADING_LAYER=none",
        "NUMBA_CAPTURED_ERRORS=old_style",
        "NUMBA_DEBUG=1",
        "NUMBA_CACHE_LOCATOR_CLASSES=planted.Locator",
        "MATPLOTLIBRC=/dev/zero",
        "MPLBACKEND=module://planted",
        "MPLCONFIGDIR=/nowhere",
        "PYTHONHASHSEED=3",
        "PYTHONWARNINGS=error",
        "PYTHONIOENCODING=ascii",
        "PYTHONOPTIMIZE=1",
        "LC_ALL=C",
        "TMPDIR=/nowhere",
        "HOME=/nowhere",
        "SKLEARN_WORKING_MEMORY=none",
        "SCIPY_ARRAY_API=1",
        "PANDAS_COPY_ON_WRITE=warn",
        "OPENBLAS_NUM_THREADS=7",
        "OPENBLAS_CORETYPE=Prescott",
        "NPY_DISABLE_CPU_FEATURES=AVX2",
        "OC_CAUSE=1",
        "HYDRA_DEPRECATION_WARNINGS_AS_ERRORS=1",
        "COLUMNS=nine",
        "TERM=planted",
    ],
    NETWORK: [
        "PL_GLOBAL_SEED=7",
        "PL_SEED_WORKERS=1",
        "PL_TRAINER_MAX_STEPS=1",
        "PL_TRAINER_PRECISION=16-true",
        "RANK=1",
        "LOCAL_RANK=1",
        "SLURM_NTASKS=4",
        "SLURM_PROCID=1",
        "JSM_NAMESPACE_RANK=1",
        "TORCHELASTIC_RUN_ID=none",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1",
        "TORCH_DEVICE_BACKEND_AUTOLOAD=0",
        "TORCH_CUDA_SANITIZER=1",
        "ONEDNN_DEFAULT_FPMATH_MODE=BF16",
        "PYTORCH_JIT=0",
        "ATEN_CPU_CAPABILITY=default",
        "MKL_CBWR=COMPATIBLE",
        "OMP_NUM_THREADS=2",
        "USE_TORCH=0",
        "ACCELERATE_USE_FSDP=1",
    ],
}
PLANTED = [
    *((ESTIMATOR, {}, [name]) for name in FILES),
    *((chain, dict([planted.split("=")]), []) for chain, names in VARIABLES.items() for planted in names),
]
SEED, MOST_BY_DEFAULT = 20, 2
CASES = random.Random(SEED).sample(PLANTED, len(PLANTED))
assert len(CASES) >= 50


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Function that runs a chain in this process, where nothing is planted, once."""

    @cache
    def run(chain):
        folder = tmp_path_factory.mktemp("plain")
        finished = run_command([*chain, *places_in(folder)], folder, folder / "run")
        assert finished.code == 0, finished.err
        return left_in(folder)

    return run


def places_in(folder):
    return f"paths.store={folder / 'store'}", f"hydra.run.dir={folder / 'run'}"


def left_in(folder):
    """Key -> execution record, and the lines of the generations."""
    manifests = {manifest.key: manifest.execution for manifest in Store(folder / "store").artifacts()}
    return manifests, read_lines(folder / "run" / "generations.jsonl")


def chain_beside(chain, variables, files, folder):
    """What a chain leaves that runs beside what is planted."""
    (folder / "home").mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(FILES[name])
    # Machine code is kept where it was before: to compile it takes longer than all else.
    kept = {"HOME": str(folder / "home"), "NUMBA_CACHE_DIR": str(compiled._folder().parent)}
    typed = [sys.executable, str(ROOT / "train.py"), *chain, *places_in(folder)]
    environment = {**os.environ, **kept, **variables}
    finished = subprocess.run(typed, cwd=folder, env=environment, capture_output=True, timeout=500)
    assert finished.returncode == 0, finished.stderr.decode()
    return left_in(folder)


@pytest.mark.parametrize(
    ("chain", "variables", "files"),
    [
        pytest.param(
            *case, id=" ".join([*case[1], *case[2]]), marks=[pytest.mark.slow] if place >= MOST_BY_DEFAULT else []
        )
        for place, case in enumerate(CASES)
    ],
)
def test_nothing_that_is_planted_decides_a_result(tmp_path, plain, chain, variables, files):
    manifests, lines = chain_beside(chain, variables, files, tmp_path)
    expected, expected_lines = plain(chain)
    assert manifests.keys() == expected.keys()
    (recorded,) = {json.dumps(execution.get("environment")) for execution in manifests.values()}
    if all(answer_of(name) == "recorded" for name in variables) and variables:
        assert json.loads(recorded).items() >= variables.items()
        close = {name: pytest.approx(value, rel=1e-3, abs=1e-6) for name, value in values(expected_lines).items()}
        assert values(lines) == close
    else:
        assert recorded in {json.dumps(execution.get("environment")) for execution in expected.values()}
        assert lines == expected_lines


def values(lines):
    """The numbers of all generations, by generation and name."""
    found = {}
    for line in lines:
        found |= {f"{line['generation']} {name}": value for name, value in line.items() if isinstance(value, float)}
    return found
