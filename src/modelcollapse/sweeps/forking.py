"""Chains as processes forked from one that has imported everything: see :mod:`modelcollapse.commands.fork_server`."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SERVER = "modelcollapse.commands.fork_server"


class ServerEnded(Exception):
    """The server is gone, killed or unable to start, and so is the chain that it ran."""


@dataclass(frozen=True)
class Order:
    """A chain to be run."""

    overrides: Sequence[str]
    environment: Mapping[str, str]
    """All variables of the process."""
    output: Path
    """File that what it prints is appended to."""


class ForkServer:
    """A running server; it runs one chain at a time."""

    def __init__(self, environment: Mapping[str, str], output: Path) -> None:
        self.is_free = True
        """Whether it runs no chain."""
        with output.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", SERVER],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """What its process ended with, for which it waits; never that of a success."""
        return self._process.wait() or 1

    @property
    def is_running(self) -> bool:
        """Whether it can take an order."""
        return self._process.poll() is None

    def send(self, **order: Any) -> None:
        """Send an order. Raises ServerEnded."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
        except BrokenPipeError as error:
            raise ServerEnded from error

    def answer(self, seconds: float | None = None) -> Mapping[str, int] | None:
        """The next answer; None if there is none within so many seconds. Raises ServerEnded."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        if not line:
            raise ServerEnded
        answer: Mapping[str, int] = json.loads(line)
        return answer


class ChainFork:
    """The process of a chain, with the methods of :class:`subprocess.Popen` that are needed."""

    def __init__(self, server: ForkServer, order: Order) -> None:
        self._server = server
        self.returncode: int | None = None
        self.pid = server.pid
        try:
            self.pid = self._start(order)
        except ServerEnded:
            # As if the server were the chain: what it printed, why it could not start, is in the chain's output.
            self.returncode = server.exit_code

    def _start(self, order: Order) -> int:
        self._server.send(
            overrides=list(order.overrides),
            environment=dict(order.environment),
            output=str(order.output.absolute()),
            folder=str(Path.cwd()),
        )
        started = self._server.answer()
        assert started is not None
        return started["started"]

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code; None if the chain has not ended within so many seconds.

        Where the server was killed, the chain ends itself by SIGTERM.
        """
        if self.returncode is None:
            try:
                answer = self._server.answer(seconds)
                self.returncode = None if answer is None else answer["exit_code"]
            except ServerEnded:
                self.returncode = -signal.SIGTERM
            self._server.is_free = self.returncode is not None
        return self.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the chain, if it has not ended."""
        if self.wait(0) is None:
            # Without its server it ends by itself.
            with suppress(ServerEnded):
                self._server.send(signal=int(number))


_CHOOSING = threading.Lock()


def fork_chain(order: Order) -> ChainFork:
    """Start a chain, from a server of this process that runs none, or from a new one."""
    with _CHOOSING:
        servers = _servers(os.getpid())
        servers[:] = [server for server in servers if server.is_running]
        free = [server for server in servers if server.is_free]
        if not free:
            free = [ForkServer(order.environment, order.output)]
            servers += free
        free[0].is_free = False
    return ChainFork(free[0], order)


@cache
def _servers(process: int) -> list[ForkServer]:
    """The servers of this process; one that was forked from another begins with none."""
    return []
