"""How a process that computes keeps and gives back memory."""

import ctypes
import gc

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
GARBAGE_THRESHOLDS = (50_000, 20, 20)
"""New objects until the young ones are looked through, and how often that happens until older ones are too."""


def keep_freed_memory() -> None:
    """Make glibc keep large freed buffers for the next step, instead of returning their pages and faulting in new ones.

    Costs nothing but memory that the process had anyway; where the C library is another one, nothing happens.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def seldom_look_for_garbage() -> None:
    """Let imports make their half a million objects in peace: Python would look through them over and over again."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def give_back_memory() -> None:
    """Delete what a stage leaves in circles, as Lightning's trainers and modules do, and return its memory.

    What lives on is not looked through again.
    """
    gc.collect()
    gc.freeze()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
