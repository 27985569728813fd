"""How many chains run at once: the cores, memory and GPUs of the machine, and what a chain is expected to take."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from itertools import islice
from pathlib import Path

from modelcollapse.config.automatic import VISIBLE, visible_gpus
from modelcollapse.config.settings import ChainSettings
from modelcollapse.families.options import family_options

ORDINARY_BYTES = 1_500_000_000
"""A chain of a family that says nothing of its memory: its models are small beside its libraries."""


def jobs_at_once(chains: Sequence[ChainSettings]) -> int:
    """How many of the chains run at once on this machine: bounded by their number, cores, memory and GPUs."""
    devices = max(chain.trainer.devices for chain in chains)
    by_cores = usable_cores() // max(devices, *(chain.trainer.threads or 1 for chain in chains))
    by_memory = usable_memory() // max(expected_memory(chain) for chain in chains)
    bounds = [len(chains), by_cores, by_memory]
    if any(chain.trainer.accelerator in ("auto", "gpu") for chain in chains) and (gpus := len(visible_gpus())):
        bounds.append(gpus // devices)
    return max(1, min(bounds))


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes of memory that nobody uses, within the limit of a container."""
    free = [_free_of_machine()]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            free.append(int(Path(limit).read_text(encoding="utf-8")) - int(Path(used).read_text(encoding="utf-8")))
    return max(0, min(free))


def _free_of_machine() -> int:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def expected_memory(chain: ChainSettings) -> int:
    """Bytes that the processes of a chain are expected to take at most, as its family estimates from the settings."""
    place = family_options(chain.model.family).memory
    if not place:
        return chain.trainer.devices * ORDINARY_BYTES
    module, _, name = place.partition(":")
    estimated: int = getattr(import_module(module), name)(chain)
    return estimated


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
    file = (folder / f"{os.uname().nodename}-{device}").open("w", encoding="utf-8")
    try:
        # Held by the open file, which a chain's process does not inherit.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True
