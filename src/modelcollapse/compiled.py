"""Inner loops over rows, compiled to machine code by Numba, and where the machine code is kept.

Compiling takes seconds, so its result is kept for later runs: under ``NUMBA_CACHE_DIR``, else the user's cache folder,
in a folder named by a digest of every module that holds such loops and of the processor. An edited module, another
version of Numba or another machine on a shared disk therefore finds nothing stale. Files have checksums: what a full
disk or a power cut has left of one is compiled again. Where nothing can be written, every process compiles for itself.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from modelcollapse.surroundings import own_numba

Function = TypeVar("Function", bound=Callable[..., object])

numba = own_numba()
types = numba.types
intrinsic: Any = import_module("numba.extending").intrinsic

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
    folder, before = _folder(), numba.config.CACHE_DIR
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)
        try:
            dispatcher.enable_caching()
        finally:
            numba.config.CACHE_DIR = before
        # The class is the only difference: both hold the same fields.
        dispatcher._cache._cache_file.__class__ = _checked_files()
    return cast(Function, dispatcher)


@cache
def _checked_files() -> type:
    """Numba's files of machine code, with checksums: those that do not match are as if they were not there."""
    from numba.core.caching import IndexDataCacheFile

    class CheckedFiles(IndexDataCacheFile):
        def _data_name(self, number: int) -> str:
            # No two processes write different code under one name, whose list holds one of them.
            return str(super()._data_name(number)).replace(".nbc", f"-{uuid4().hex[:8]}.nbc")

        @contextmanager
        def _open_for_write(self, path: str) -> Iterator[io.BytesIO]:
            content = io.BytesIO()
            yield content
            with super()._open_for_write(path) as file:
                # At the end, where it is not read: what is before ends by itself.
                file.write(content.getvalue() + sha256(content.getvalue()).digest())

        def _load_index(self) -> Any:
            return super()._load_index() if _is_whole(Path(self._index_path)) else {}

        def _load_data(self, name: str) -> Any:
            if not _is_whole(Path(self._data_path(name))):
                raise FileNotFoundError(name)
            return super()._load_data(name)

    return CheckedFiles


def _is_whole(path: Path) -> bool:
    """Whether a file ends with the checksum of what comes before."""
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError:
        return False
    return content[-32:] == sha256(content[:-32]).digest()


@cache
def _folder() -> Path | None:
    """Where machine code is kept, or None where nothing can be written."""
    package = Path(__file__).parent
    sources = [(package / path).read_bytes() for path in MODULES]
    facts = [numba.__version__, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
    digest = sha256(b"".join([*sources, *(fact.encode() for fact in facts)])).hexdigest()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = os.environ.get("NUMBA_CACHE_DIR")
    try:
        folder = Path(named) if named else Path(caches).expanduser() / "modelcollapse"
        folder /= digest[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError):  # no home; no path
        return None
    return folder if os.access(folder, os.W_OK) else None
