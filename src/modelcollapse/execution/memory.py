"""How a process that computes keeps and gives back memory."""

import ctypes
import gc

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
GARBAGE_THRESHOLDS = (50_000, 20, 20)
"""New objects until the young ones are looked through, and how often that happens until older ones are too."""
MOST_OBJECTS_OF_A_CHAIN = 50_000


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
    """Delete what was left in circles, as Lightning's trainers are, and return its memory to the system."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def set_imports_aside() -> None:
    """Let what imports have made not be looked through again, where memory has just been given back.

    Not for the middle of a stage: what lives now is never deleted later where it is in a circle.
    """
    if len(gc.get_objects()) > MOST_OBJECTS_OF_A_CHAIN:
        gc.freeze()
