"""The process that the chains of a sweep are forked from: ``python -m modelcollapse.commands.fork_server``.

It imports what chains need, once, and computes nothing but a figure and a configuration that nobody uses, for the fonts
and the files that all chains read: a chain that is forked from it starts in milliseconds, and its results are those of
a process of its own. Orders come by standard input and answers go out by standard output, a JSON object a line;
:mod:`modelcollapse.sweeps.forking` is the other end. One chain runs at a time. The server ends when its input does, and
the chain, which keeps what it has finished, with it.
"""

import gc
import json
import os
import pkgutil
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
PARENT_POLL_SECONDS = 0.5
FIRST_TO_GO = "800"
"""Out of memory, Linux kills the process with the highest score: a chain rather than the job that waits for it."""
NEEDED_BY_CHAINS = (
    "pytorch_lightning",
    "modelcollapse.chain",
    "modelcollapse.commands.run",
    "modelcollapse.console",
    "modelcollapse.families",
    "modelcollapse.figures",
    "modelcollapse.metrics",
    "modelcollapse.preflight",
    "modelcollapse.record",
    "modelcollapse.training",
    "pyarrow.parquet",
)
"""Modules, and packages with all that is in them where they are of this one."""
IMPORTS_FIRST = sys.platform == "linux"
"""Elsewhere, on macOS, the system's own libraries do not survive a fork: each chain imports for itself."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a cluster sends to all processes of a job: they are the chain's to answer."""


def main() -> None:
    """Serve orders; in a process that is forked, run the chain."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in IGNORED}
    orders, answers = os.dup(0), os.dup(1)
    # What a library prints while it is imported is no answer.
    os.dup2(2, 1)
    if IMPORTS_FIRST:
        _import_all()
    order = Server(orders, answers).serve()
    if order is not None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        run_chain(order)


class Server:
    """Serves orders until there are no more, or until it finds itself in a process that was forked for one."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders, self._answers = orders, answers
        self._lines = _lines(orders)

    def serve(self) -> Mapping[str, Any] | None:
        """None at the end of the orders; in a forked process, its order."""
        for order in self._lines:
            if "signal" in order:
                # For a chain that ended just now.
                continue
            process = _fork()
            if process == 0:
                # The answers stay open: their reader sees an end once the server and its chain are gone, both.
                os.close(self._orders)
                return order
            self._answer(started=process)
            status = self._wait(process)
            if status is None:
                break
            self._answer(exit_code=os.waitstatus_to_exitcode(status))
        return None

    def _wait(self, process: int) -> int | None:
        """The status that the process ended with; signals that are ordered meanwhile are sent. None: no more orders."""
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return status
            if select.select([self._orders], [], [], POLL_SECONDS)[0]:
                order = next(self._lines, None)
                if order is None:
                    return None
                os.kill(process, order["signal"])

    def _answer(self, **values: int) -> None:
        os.write(self._answers, json.dumps(values).encode() + b"\n")


def run_chain(order: Mapping[str, Any]) -> None:
    """Be the process of a chain: train.py with the overrides of the order."""
    server = os.getppid()
    os.setsid()
    _write_to(Path(order["output"]))
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["train.py", *order["overrides"]]
    threading.Thread(target=_end_with, args=(server,), daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="utf-8")
    from modelcollapse.commands.run import train

    train()


def _lines(descriptor: int) -> Iterator[Any]:
    """The JSON objects of a stream, each as soon as its line is there; nothing is read beyond it."""
    line = b""
    while byte := os.read(descriptor, 1):
        if byte == b"\n":
            yield json.loads(line)
            line = b""
        else:
            line += byte


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 and later: of threads of libraries that wait for work. None has had any: only imports have run.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _import_all() -> None:
    """Import what chains need. What cannot be imported is for a chain to report."""
    from modelcollapse.chain_session import before_imports
    from modelcollapse.surroundings import own_process
    from modelcollapse.training.processes import quiet_transformers

    with own_process():
        before_imports()
        quiet_transformers()
        for name in NEEDED_BY_CHAINS:
            with suppress(Exception):
                import_module(name)
                _import_inside(name)
        for rehearse in (_draw_once, _compose_once):
            with suppress(Exception):
                rehearse()
    # Nothing of it is garbage, and pages that no collection writes to are shared with the chains.
    gc.freeze()


def _draw_once() -> None:
    from modelcollapse.figures.style import rehearse

    rehearse()


def _compose_once() -> None:
    """Compose the default settings: Hydra has then looked for its plugins, and read what all chains have in common."""
    from hydra import compose, initialize_config_dir

    from modelcollapse.config.composing import HYDRA_VERSION_BASE
    from modelcollapse.config.extensions import configuration_folder
    from modelcollapse.config.hydra_internals import apart

    with apart(), initialize_config_dir(str(configuration_folder()), version_base=HYDRA_VERSION_BASE):
        compose("train", overrides=["seed=0"], return_hydra_config=True)


def _import_inside(package: str) -> None:
    module = sys.modules[package]
    if module.__name__.startswith("modelcollapse.") and hasattr(module, "__path__"):
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            import_module(found.name)


def _write_to(output: Path) -> None:
    """Let everything that the process prints go into a file, and nothing be read."""
    with Path(os.devnull).open("rb") as nothing, output.open("ab") as written:
        os.dup2(nothing.fileno(), 0)
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)


def _end_with(server: int) -> None:
    """End this process, which keeps what it has finished, once its server is gone."""
    while os.getppid() == server:
        time.sleep(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
