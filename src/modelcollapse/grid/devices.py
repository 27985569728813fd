"""Which GPU a chain uses where a machine has several: one that no other chain of the sweep uses, while there is one."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that a process started here sees; found without importing a library of theirs."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


@contextmanager
def gpu_of_its_own(folder: Path, number: int) -> Iterator[Mapping[str, str]]:
    """Environment variables that show chain ``number`` one of several GPUs; none where there is at most one.

    A GPU is taken by locking a file in ``folder``: the lock goes with the process that holds it. Where there are more
    chains than GPUs, they are dealt out in turn.
    """
    devices = visible_gpus()
    with ExitStack() as held:
        if len(devices) < 2:
            yield {}
            return
        folder.mkdir(parents=True, exist_ok=True)
        free = next((device for device in devices if _taken(folder, device, held)), devices[number % len(devices)])
        yield {VISIBLE: free}


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
