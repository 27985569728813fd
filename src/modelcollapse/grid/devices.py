"""Which GPUs a chain uses where a machine has several: those that no other chain of the sweep uses, while there are."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that a process started here sees; found without importing a library of theirs."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


@contextmanager
def gpus_of_its_own(folder: Path, number: int, count: int) -> Iterator[Mapping[str, str]]:
    """Environment variables that show chain ``number`` so many of several GPUs; none where there is at most one.

    A GPU is taken by locking a file in ``folder``: the lock goes with the process that holds it. Where more are asked
    for than there are, they are dealt out in turn.
    """
    devices = visible_gpus()
    with ExitStack() as held:
        if len(devices) < 2:
            yield {}
            return
        folder.mkdir(parents=True, exist_ok=True)
        shown = list(islice((device for device in devices if _taken(folder, device, held)), count))
        first = number % len(devices)
        shown += [device for device in devices[first:] + devices[:first] if device not in shown][: count - len(shown)]
        yield {VISIBLE: ",".join(shown)}


def _taken(folder: Path, device: str, held: ExitStack) -> bool:
    file = (folder / f"{os.uname().nodename}-{device}").open("w")
    try:
        # Held by the open file, which a chain's process does not inherit.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True
