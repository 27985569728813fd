"""Inner loops over rows, compiled to machine code by Numba, and where the machine code is kept.

Compiling takes seconds, so its result is kept for later runs: under ``NUMBA_CACHE_DIR``, else the user's cache folder,
in a folder named by a digest of every module that holds such loops and of the processor. An edited module, another
version of Numba or another machine on a shared disk therefore finds nothing stale. Where nothing can be written, every
process compiles for itself.
"""

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., object])

_CONFIGURATION: Any = numba.config

MODULES = (
    "compiled.py",
    "decoding/native/kernels.py",
    "families/gaussian_mixture/kernels.py",
    "families/gaussian_mixture/clustering.py",
    "families/gaussian_mixture/expectation_maximisation.py",
)
"""Where compiled functions are, relative to the package: one may call another's, of which Numba takes no notice."""


def compiled(function: Function) -> Function:
    """Compile ``function`` when it is first called.

    Divisions by zero give what IEEE 754 says. Products and sums may be fused, and sums added up in any order, so that
    loops use the vector instructions of the processor; nothing else of the arithmetic is relaxed.
    """
    return _compiled(function, {"contract", "reassoc"})


def exactly_compiled(function: Function) -> Function:
    """The same for arithmetic whose order is its purpose, such as adding and subtracting a large number to round."""
    return _compiled(function, {"contract"})


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy where rows are not side by side or may not be written to.

    What is compiled is compiled anew for every kind of array, so all are of one kind.
    """
    return np.require(array, requirements=("C", "W"))


def _compiled(function: Function, freedoms: set[str]) -> Function:
    dispatcher = numba.njit(error_model="numpy", fastmath=freedoms)(function)
    folder, before = _folder(), _CONFIGURATION.CACHE_DIR
    if folder is not None:
        _CONFIGURATION.CACHE_DIR = str(folder)
        try:
            dispatcher.enable_caching()
        finally:
            _CONFIGURATION.CACHE_DIR = before
    return cast(Function, dispatcher)


@cache
def _folder() -> Path | None:
    """Where machine code is kept, or None where nothing can be written."""
    package = Path(__file__).parent
    sources = [(package / path).read_bytes() for path in MODULES]
    facts = [numba.__version__, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
    digest = sha256(b"".join([*sources, *(fact.encode() for fact in facts)])).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "modelcollapse"
    folder = Path(_CONFIGURATION.CACHE_DIR or caches) / digest[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None
