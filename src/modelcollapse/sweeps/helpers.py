"""Helper processes of a launcher, which run its jobs: they end with the command that started them.

joblib keeps its helpers for minutes after their last job. A command that is killed cannot end them, and as long as they
live, their semaphores stay in shared memory.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import current_process

POLL_SECONDS = 0.5
HELPER = "LokyProcess"
"""What the names of joblib's helpers begin with."""
_AT_WORK = threading.Lock()
_WATCHING: set[int] = set()
"""Commands whose end is waited for."""


@contextmanager
def job_of(command: int, *, to_its_end: bool) -> Iterator[None]:
    """Run a job of a command, given by the id of its process: in a helper, which ends once the command is gone.

    Args:
        command: id of the process; nothing is watched where the job runs in it, or is a scheduler's.
        to_its_end: whether the job, which then ends by itself, is waited for.
    """
    if current_process().name.startswith(HELPER) and command not in _WATCHING:
        _WATCHING.add(command)
        threading.Thread(target=_end_with, args=(command, to_its_end), daemon=True).start()
    with _AT_WORK:
        yield


def _end_with(command: int, to_its_end: bool) -> None:
    while os.getppid() == command:
        time.sleep(POLL_SECONDS)
    if to_its_end:
        _AT_WORK.acquire()
    os._exit(1)
