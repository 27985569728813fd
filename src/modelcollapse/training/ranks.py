"""The ranks of a DDP fit on one machine: how their processes start, join, fail and end.

The process that calls the fit is rank 0. It starts the others for this fit only, and they end with it, whatever ends
it; where one of them ends first, rank 0 raises its error. The others write no files, so nothing of theirs can be lost.
"""

import math
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from operator import attrgetter
from threading import Event, Thread
from typing import NamedTuple

import torch
import torch.distributed as distributed

from modelcollapse.data.batches import Rank
from modelcollapse.errors import GOES_ON, UserError
from modelcollapse.training.processes import end_with, signals_blocked, threads_of_each, use_threads
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import prepare_process

HERE = "127.0.0.1"
ALL_ARE_READY = "all are ready"
MEETING_TIME = timedelta(minutes=1)
"""Timeout for connecting, once all ranks are ready."""
WAITING_TIME = timedelta(days=7)
"""Timeout of collectives: rank 0 may work alone for long. A rank that has ended is detected in other ways."""
FAILURE_SECONDS = 5.0
"""How long to wait for the failure of another rank after a collective has failed here."""
SETTLING_SECONDS = 0.2
"""How long to collect the failures of further ranks after the first one has arrived."""
WATCHING_SECONDS = 0.5

Join = Callable[[], AbstractContextManager[None]]
"""Context manager in which all ranks are in one process group."""
FitRank = Callable[[Rank, Join], None]
"""What each rank runs: prepare, join the process group, and fit on its own part of the batches."""


class RankLost(UserError):
    """A rank was ended from outside. Only the epoch in progress is lost."""


@contextmanager
def other_ranks(world_size: int, backend: str, settings: TrainerSettings, fit_rank: FitRank) -> Iterator[Join]:
    """Start ranks 1 .. ``world_size`` - 1, each in a process of its own, for the block that runs as rank 0.

    The threads of this process are divided among all ranks. ``fit_rank`` is a module-level function, or a partial of
    one, as processes are spawned. Raises what a rank raises, and RankLost.
    """
    if world_size == 1:
        yield nullcontext
        return
    threads = threads_of_each(world_size)
    with ExitStack() as stack:
        stack.callback(use_threads, torch.get_num_threads())
        use_threads(threads)
        store = _open_store(world_size)
        others = _Others()
        stack.callback(others.end)
        of_each = replace(settings, threads=threads)
        with signals_blocked():
            for index in range(1, world_size):
                others.start(_run_rank, Rank(index, world_size), store.port, backend, of_each, fit_rank)
        yield partial(_join_others, others, store, Rank(0, world_size), backend)


@contextmanager
def _join_others(others: "_Others", store: distributed.Store, rank: Rank, backend: str) -> Iterator[None]:
    others.wait_until_ready()
    store.set(ALL_ARE_READY, "")
    with ExitStack() as joined:
        try:
            joined.enter_context(_process_group(store, rank, backend))
            joined.enter_context(others.watched(backend))
            yield
        except RuntimeError as error:
            # Looked up while the connections of this rank are open: closing them would fail the others in turn.
            others.raise_failure(error)
            raise


@contextmanager
def _process_group(store: distributed.Store, rank: Rank, backend: str) -> Iterator[None]:
    # Names the network that stays on this machine; otherwise that of the machine's name would be taken.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", next(name for _, name in socket.if_nameindex() if name[:2] == "lo"))
    distributed.init_process_group(
        backend,
        store=store,
        rank=rank.index,
        world_size=rank.world_size,
        timeout=MEETING_TIME,
        device_id=torch.device("cuda", rank.index) if backend == "nccl" else None,
    )
    try:
        distributed.distributed_c10d._set_pg_timeout(WAITING_TIME)
        yield
    finally:
        distributed.destroy_process_group()


def _open_store(world_size: int) -> distributed.TCPStore:
    """The rendezvous store of the ranks, at a free port of the loopback address."""
    listening = socket.create_server((HERE, 0))
    port = listening.getsockname()[1]
    return distributed.TCPStore(
        HERE,
        port,
        world_size,
        is_master=True,
        timeout=MEETING_TIME,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )


class _Failure(NamedTuple):
    """Why a rank ended, and when: the earliest failure is the cause of the others."""

    moment: float
    error: BaseException


class _Others:
    """The processes of ranks 1, 2, ..., and a pipe from each, which reports that it is ready, or its failure."""

    def __init__(self) -> None:
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []

    def start(self, function: Callable[..., None], *arguments: object) -> None:
        context = get_context("spawn")
        own_end, far_end = context.Pipe()
        process = context.Process(target=function, args=(far_end, *arguments), daemon=True)
        process.start()
        far_end.close()
        self._processes.append(process)
        self._pipes.append(own_end)

    def wait_until_ready(self) -> None:
        waiting = list(self._pipes)
        while waiting:
            for pipe in connection.wait(waiting):
                assert isinstance(pipe, Connection)
                if failure := _received(pipe):
                    raise failure.error
                waiting.remove(pipe)

    def raise_failure(self, consequence: BaseException) -> None:
        """Raise the error of the rank that failed first; return where no rank has reported a failure."""
        if connection.wait(self._pipes, FAILURE_SECONDS):
            time.sleep(SETTLING_SECONDS)
            received = (_received(pipe) for pipe in self._pipes if pipe.poll())
            raise min(filter(None, received), key=attrgetter("moment")).error from consequence

    @contextmanager
    def watched(self, backend: str) -> Iterator[None]:
        """Abort collectives once a rank has ended: gloo does so itself, NCCL would wait for ever."""
        if backend != "nccl":
            yield
            return
        is_over = Event()

        def watch() -> None:
            while not is_over.wait(WATCHING_SECONDS):
                if connection.wait(self._pipes, 0):
                    process_group = distributed.group.WORLD
                    assert process_group is not None
                    process_group.abort()
                    return

        watching = Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            is_over.set()
            watching.join()

    def end(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.kill()
            process.join()


def _received(pipe: Connection) -> _Failure | None:
    """What a rank reported: its failure, or None where it is ready."""
    try:
        failure: _Failure | None = pipe.recv()
    except (EOFError, ConnectionResetError):
        lost = RankLost(
            "one of the processes that fitted together (trainer.devices) was ended from outside, as a machine does that"
            f" runs out of memory. {GOES_ON}; fewer devices, or trainer.micro_batch_size, take less memory"
        )
        return _Failure(-math.inf, lost)
    return failure


# ---- in another rank ------------------------------------------------------------------------------------------------


def _run_rank(
    starter: Connection, rank: Rank, port: int, backend: str, settings: TrainerSettings, fit_rank: FitRank
) -> None:
    end_with(starter)
    prepare_process(settings)
    try:
        fit_rank(rank, partial(_join_starter, starter, rank, port, backend))
    except BaseException as error:
        error.add_note(f"In rank {rank.index}:\n{traceback.format_exc()}")
        _report(starter, _Failure(time.monotonic(), error))
        os._exit(1)
    # Others may still be reading what it sent: it ends with its starter.
    Event().wait()


@contextmanager
def _join_starter(starter: Connection, rank: Rank, port: int, backend: str) -> Iterator[None]:
    store = distributed.TCPStore(HERE, port, rank.world_size, is_master=False, timeout=MEETING_TIME)
    starter.send(None)
    store.wait([ALL_ARE_READY], WAITING_TIME)
    with _process_group(store, rank, backend):
        yield


def _report(starter: Connection, failure: _Failure) -> None:
    try:
        starter.send(failure)
    except Exception:
        # Not every error can be sent.
        starter.send(failure._replace(error=RuntimeError("\n".join(failure.error.__notes__))))
