"""What every process that computes does first, and how one that another has started ends with it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from modelcollapse.errors import STOP_SIGNALS


def quiet_transformers() -> None:
    """Turn off the messages and bars that transformers would show once it is imported: what matters of them we say."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def threads_of_each(processes: int) -> int:
    """Threads of a process when several share those of this one."""
    import torch

    return max(1, torch.get_num_threads() // processes)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Start processes inside that no signal to stop reaches: it is for this process, which then ends them."""
    # Otherwise it starts with the first process, and lets signals through while it does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(starter: Connection) -> None:
    """End this process as soon as the one that started it has closed its end of a pipe, or has ended itself.

    The starter's end is only there, and nobody writes into it.
    """
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()


def _end_with(starter: Connection) -> None:
    starter.poll(None)
    os._exit(1)
