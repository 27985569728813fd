"""What every process that computes does first."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Make glibc keep large freed buffers for the next step, instead of returning their pages and faulting in new ones.

    Costs nothing but memory that the process had anyway; where the C library is another one, nothing happens.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def quiet_transformers() -> None:
    """Turn off transformers' messages and bars: what matters of them we say."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
