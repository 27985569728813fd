"""Real processes of the program, forked from a server that has imported everything once, to be killed at any moment."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from modelcollapse.store.files import is_alive

IMPORTED_ONCE = [
    "torch",
    "pytorch_lightning",
    "transformers.models.opt.modeling_opt",
    "modelcollapse.commands.run",
    "modelcollapse.console",
    "modelcollapse.record",
    "modelcollapse.families.language_model.inputs",
    "modelcollapse.families.language_model.fitting",
    "modelcollapse.families.language_model.report",
    "modelcollapse.families.language_model.scoring",
    "modelcollapse.families.language_model.generating",
    "modelcollapse.families.gaussian.estimator",
    "modelcollapse.families.gaussian_mixture.estimator",
    "modelcollapse.families.vae.fitting",
    "modelcollapse.families.vae.family",
    "modelcollapse.families.vae.scoring",
    "modelcollapse.families.vae.report",
]
PATIENCE = 900
POLL_SECONDS = 0.01


def fork_server():
    """A context whose processes start with everything imported, and hold no lock."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    return context


def type_overrides(overrides, cwd, log, made):
    """What a forked process does: the command, its output in ``log``, the keys of what it made in ``made``."""
    from modelcollapse.commands.run import train
    from modelcollapse.store import Store

    os.chdir(cwd)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    publish = Store._publish

    def noted_publish(self, context):
        publish(self, context)
        note(made, context.artifact.key)

    Store._publish = noted_publish
    sys.argv = ["train.py", *overrides]
    train()


def note(path, line):
    """Append a line whole, whoever else does so."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


class Program:
    """Commands on one store, each in a process and a run folder of its own."""

    def __init__(self, context, folder):
        self._context, self.folder = context, folder
        self.store = folder / "store"
        self.made = folder / "made"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, overrides, name):
        """A process that runs the overrides; ``name`` is of its run folder."""
        typed = [*overrides, f"paths.store={self.store}", f"hydra.run.dir={self.folder / name}"]
        arguments = (typed, self.folder, self.folder / f"{name}.log", self.made)
        process = self._context.Process(target=type_overrides, args=arguments)
        process.start()
        return process

    def log(self, name):
        """What the commands of that run folder have said."""
        return (self.folder / f"{name}.log").read_text()

    def keys_made(self):
        """The keys of the artifacts that were published, in order, as often as they were."""
        return self.made.read_text().split() if self.made.exists() else []

    def litter(self):
        """What a store at rest must not hold."""
        return [*self.store.glob("*/.*"), *self.store.glob("progress/*")]


def ended_within(process, seconds):
    """Whether the process ends by itself before it has computed for so many seconds: on a busy machine it waits too."""
    for _ in range(int(PATIENCE / POLL_SECONDS)):
        if processor_seconds(process) >= seconds:
            return False
        process.join(POLL_SECONDS)
        if process.exitcode is not None:
            return True
    raise AssertionError("it neither ends nor computes")


def processor_seconds(process):
    """Seconds that a process has computed for; none once it has ended."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(process):
    """Numbers of the processes that the process of this number has started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines()[1:])
    return [child for child, parent in parents.items() if parent == process]


def assert_end(processes, seconds):
    """The processes of these numbers end, within so many seconds."""
    until = time.monotonic() + seconds
    while any(map(is_alive, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, processes))


def wait_for(condition, what):
    """Until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def soak_size(name, usual):
    """A number that the environment may change: SOAK_KILLS=20 for a shorter look."""
    return int(os.environ.get(name, usual))


def memory_and_files():
    """Bytes of memory in use, and open files, of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir()))
