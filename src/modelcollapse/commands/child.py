"""The process of one chain of a grid: ``python -m modelcollapse.commands.child STARTER OVERRIDES``.

It is train.py with these overrides, and ends when the process that started it (of id STARTER) is gone.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.5
FIRST_TO_GO = "800"
"""Out of memory, Linux kills the process with the highest score: a chain rather than the job that waits for it."""


def main() -> None:
    """Run the chain."""
    starter = int(sys.argv[1])
    sys.argv = ["train.py", *sys.argv[2:]]
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="utf-8")

    from modelcollapse.commands.run import train

    train()


def _end_with(starter: int) -> None:
    """End this process, which keeps what it has finished, once its starter is gone."""
    while os.getppid() == starter:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
