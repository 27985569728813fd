"""Set-up of computing processes (threads, memory, messages), and child processes that end with their parent."""

import ctypes
import gc
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import ClassVar, NamedTuple

from modelcollapse.errors import STOP_SIGNALS


def quiet_transformers() -> None:
    """Turn off transformers' messages and bars: the package logs what matters of them.

    It reads the environment when it is imported, which takes half a second that not every process needs to spend.
    """
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()


def use_threads(number: int | None = None) -> None:
    """Compute with so many threads in torch and in the BLAS of NumPy and SciPy; None takes torch's number for all.

    Otherwise a variable, or the number of cores, would decide for each of them apart.
    """
    import torch
    from threadpoolctl import threadpool_limits

    if number is not None:
        torch.set_num_threads(number)
    threads = torch.get_num_threads()
    # Of libraries that are loaded already, and of those that will be.
    threadpool_limits(threads, "blas")
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)


def use_plain_arithmetic() -> None:
    """Compute as a new process does, whatever a notebook or script has chosen for its own work."""
    import numpy as np
    import torch

    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)
    torch.set_grad_enabled(True)
    np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")


def threads_of_each(processes: int) -> int:
    """Threads of each process when the threads of this one are divided among several."""
    import torch

    return max(1, torch.get_num_threads() // processes)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block stop signals in processes that are started inside: this process receives them, and ends the others."""
    # Otherwise it starts with the first process, and lets signals through while it does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(starter: Connection) -> None:
    """End this process once its parent has closed its end of a pipe, or has ended itself.

    The parent writes nothing into its end of the pipe: only its closing matters.
    """
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()


def _end_with(starter: Connection) -> None:
    starter.poll(None)
    os._exit(1)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
GARBAGE_THRESHOLDS = (50_000, 20, 20)
"""New objects until the young ones are looked through, and how often that happens until older ones are too."""
MOST_OBJECTS_OF_A_CHAIN = 50_000
KEPT_BYTES = 2**28
"""Memory freed by a stage that its process keeps for the next one."""


def keep_freed_memory() -> None:
    """Make glibc keep large freed buffers for the next step, instead of returning their pages and faulting in new ones.

    Costs nothing but memory that the process had anyway; where the C library is another one, nothing happens.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def seldom_look_for_garbage() -> None:
    """Run the garbage collector rarely: during imports it would scan half a million new objects over and over."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def give_back_memory() -> bool:
    """Collect reference cycles, such as Lightning's trainers, and return their memory to the system.

    Not while the process uses less than KEPT_BYTES more than after the last time, where glibc counts it: looking for
    garbage takes as long as ten cheap generations. glibc keeps at most KEPT_BYTES for the next stage: small chains
    would fault the same pages in again and again.

    Returns:
        Whether it looked for garbage.
    """
    global _used_before
    library = ctypes.CDLL(None)
    if _memory_use(library).used < _used_before + KEPT_BYTES and not _uses_gpu():
        return False
    gc.collect()
    if hasattr(library, "malloc_trim") and _memory_use(library).freed > KEPT_BYTES:
        library.malloc_trim(0)
    _used_before = _memory_use(library).used
    return True


_used_before = -math.inf
"""Bytes in use after garbage was looked for."""


def _uses_gpu() -> bool:
    """Whether garbage may hold memory that glibc does not count."""
    import torch

    return torch.cuda.is_initialized()


class _MemoryUse(ctypes.Structure):
    """``struct mallinfo2`` of glibc."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class _Bytes(NamedTuple):
    used: float
    """What glibc has given to the process."""
    freed: float
    """What it holds of memory that was freed."""


def _memory_use(library: ctypes.CDLL) -> _Bytes:
    """Without end, both, where the C library does not say: glibc before version 2.33, and others."""
    if not hasattr(library, "mallinfo2"):
        return _Bytes(math.inf, math.inf)
    library.mallinfo2.restype = _MemoryUse
    found = library.mallinfo2()
    # Large buffers are mapped, and counted apart, until keep_freed_memory is called.
    return _Bytes(int(found.uordblks) + int(found.hblkhd), int(found.fordblks))


def set_imports_aside() -> None:
    """Exempt the objects of imports from garbage collection, after garbage was looked for.

    Not for the middle of a stage: what lives now is never deleted later where it is in a circle.
    """
    if len(gc.get_objects()) > MOST_OBJECTS_OF_A_CHAIN:
        gc.freeze()
