"""Several processes of one machine that fit one network together: how they start, meet, fail and end.

The process that asks for the fit is rank 0. It starts the others for this fit only, and they end with it, whatever ends
it; where one of them ends first, it says so. They write nothing, and have nothing to lose.
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

from modelcollapse.data.batches import Share
from modelcollapse.errors import GOES_ON, UserError
from modelcollapse.training.processes import end_with, signals_blocked, threads_of_each
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import prepare_process

HERE = "127.0.0.1"
ALL_ARE_READY = "all are ready"
MEETING_TIME = timedelta(minutes=1)
"""In which ranks that are ready connect."""
WAITING_TIME = timedelta(days=7)
"""For what a rank does alone while others wait: one that has ended is found in other ways."""
HEARING_SECONDS = 5.0
"""Until when a rank whose absence is felt is known to have ended."""
SETTLING_SECONDS = 0.2
"""After which all have said what they felt, once one has."""
WATCHING_SECONDS = 0.5

Meet = Callable[[], AbstractContextManager[None]]
"""Opens the block in which all ranks are there."""
TakePart = Callable[[Share, Meet], None]
"""What a rank does: make ready, meet the others, and fit its share."""


class RankLost(UserError):
    """A process of several that something has ended: the epoch that they were at is lost, and nothing else."""


@contextmanager
def other_ranks(world_size: int, backend: str, settings: TrainerSettings, take_part: TakePart) -> Iterator[Meet]:
    """Let ranks 1, 2, ... take part in what the block does as rank 0, each in a process of its own.

    All share the threads of this process. ``take_part`` is a function of a module, or a partial of one. Raises what a
    rank raises, and RankLost.
    """
    if world_size == 1:
        yield nullcontext
        return
    threads = threads_of_each(world_size)
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        store = _open_store(world_size)
        others = _Others()
        stack.callback(others.end)
        of_each = replace(settings, threads=threads)
        with signals_blocked():
            for rank in range(1, world_size):
                others.start(_be_rank, Share(rank, world_size), store.port, backend, of_each, take_part)
        yield partial(_meet_others, others, store, Share(0, world_size), backend)


@contextmanager
def _meet_others(others: "_Others", store: distributed.Store, share: Share, backend: str) -> Iterator[None]:
    others.wait_until_ready()
    store.set(ALL_ARE_READY, "")
    with ExitStack() as met:
        try:
            met.enter_context(_process_group(store, share, backend))
            met.enter_context(others.watched(backend))
            yield
        except RuntimeError as felt:
            # The connections of this rank are still open: the others feel nothing of what it fails with.
            others.raise_failure(felt)
            raise


@contextmanager
def _process_group(store: distributed.Store, share: Share, backend: str) -> Iterator[None]:
    # Names the network that stays on this machine; otherwise that of the machine's name would be taken.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", next(name for _, name in socket.if_nameindex() if name[:2] == "lo"))
    distributed.init_process_group(
        backend,
        store=store,
        rank=share.rank,
        world_size=share.world_size,
        timeout=MEETING_TIME,
        device_id=torch.device("cuda", share.rank) if backend == "nccl" else None,
    )
    try:
        distributed.distributed_c10d._set_pg_timeout(WAITING_TIME)
        yield
    finally:
        distributed.destroy_process_group()


def _open_store(world_size: int) -> distributed.TCPStore:
    """Where the ranks find each other: at a port of this machine that was free, and that no other machine reaches."""
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
    """Why a rank ended, and when; what others felt of it came later."""

    moment: float
    error: BaseException


class _Others:
    """The processes of ranks 1, 2, ..., and a pipe to each: it says that it is ready, and why it failed."""

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
                if failure := _heard(pipe):
                    raise failure.error
                waiting.remove(pipe)

    def raise_failure(self, felt: BaseException) -> None:
        """Raise what the first rank that failed did; nothing where none is known to have."""
        if connection.wait(self._pipes, HEARING_SECONDS):
            time.sleep(SETTLING_SECONDS)
            heard = (_heard(pipe) for pipe in self._pipes if pipe.poll())
            raise min(filter(None, heard), key=attrgetter("moment")).error from felt

    @contextmanager
    def watched(self, backend: str) -> Iterator[None]:
        """Give up waiting for a rank that has ended: gloo does of itself, nccl would wait for ever."""
        if backend != "nccl":
            yield
            return
        is_over = Event()

        def watch() -> None:
            while not is_over.wait(WATCHING_SECONDS):
                if connection.wait(self._pipes, 0):
                    everyone = distributed.group.WORLD
                    assert everyone is not None
                    everyone.abort()
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


def _heard(pipe: Connection) -> _Failure | None:
    """What a rank has to say: None that it is ready."""
    try:
        failure: _Failure | None = pipe.recv()
    except (EOFError, ConnectionResetError):
        lost = RankLost(
            "one of the processes that fitted together (trainer.devices) was ended from outside, as a machine does that"
            f" runs out of memory. {GOES_ON}; fewer devices, or a smaller model.training.batch_size, take less memory"
        )
        return _Failure(-math.inf, lost)
    return failure


# ---- in another rank ------------------------------------------------------------------------------------------------


def _be_rank(
    starter: Connection, share: Share, port: int, backend: str, settings: TrainerSettings, take_part: TakePart
) -> None:
    end_with(starter)
    prepare_process(settings)
    try:
        take_part(share, partial(_meet_starter, starter, share, port, backend))
    except BaseException as error:
        error.add_note(f"In rank {share.rank}:\n{traceback.format_exc()}")
        _say(starter, _Failure(time.monotonic(), error))
        os._exit(1)
    # Others may still be reading what it sent: it ends with its starter.
    Event().wait()


@contextmanager
def _meet_starter(starter: Connection, share: Share, port: int, backend: str) -> Iterator[None]:
    store = distributed.TCPStore(HERE, port, share.world_size, is_master=False, timeout=MEETING_TIME)
    starter.send(None)
    store.wait([ALL_ARE_READY], WAITING_TIME)
    with _process_group(store, share, backend):
        yield


def _say(starter: Connection, failure: _Failure) -> None:
    try:
        starter.send(failure)
    except Exception:
        # Not every error can be sent.
        starter.send(failure._replace(error=RuntimeError("\n".join(failure.error.__notes__))))
