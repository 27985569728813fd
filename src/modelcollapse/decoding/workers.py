"""Several processes of one machine that continue groups of prompts: each has an engine of its own and fewer threads.

Which process takes a group decides nothing: a group's continuation follows from its number and its prompts, to the bit
where processes have the same number of threads.

The processes end with the one that started them, whatever ends it.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from numpy.typing import NDArray
from torch import Tensor

from modelcollapse.decoding.engine import Engine
from modelcollapse.errors import GOES_ON, UserError
from modelcollapse.training.processes import (
    end_with,
    keep_freed_memory,
    quiet_transformers,
    signals_blocked,
    use_threads,
)

EngineBuilder = Callable[[], Engine]


class WorkerLost(UserError):
    """A worker was ended from outside. Only the group in progress is lost."""


def continue_by_workers(
    groups: Mapping[int, Tensor],
    build_engine: EngineBuilder,
    workers: int,
    threads: int,
    write: Callable[[int, Tensor], None],
) -> None:
    """Continue the prompts [prompts, length] of each group, and pass its new tokens to ``write`` once they are there.

    ``build_engine``, a function of a module or a partial of one, is called once in each of the ``workers`` processes,
    which has ``threads`` threads. Raises what an engine raises, and WorkerLost.
    """
    with _pool(build_engine, workers, threads) as pool:
        with signals_blocked():
            # The workers start here.
            running = {pool.submit(_continue, group, prompts.numpy()): group for group, prompts in groups.items()}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                write(running.pop(future), torch.from_numpy(_result(future)))


@contextmanager
def _pool(build_engine: EngineBuilder, workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are gone when the block is left, in whatever way."""
    context = get_context("spawn")
    far_end, own_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(far_end, build_engine, threads))
    try:
        yield pool
    finally:
        own_end.close()
        pool.shutdown(cancel_futures=True)


def _result(future: "Future[NDArray]") -> NDArray:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkerLost(
            "one of the processes that wrote (decoding.workers) was ended from outside, as a machine does that runs out"
            f" of memory. {GOES_ON}; fewer workers, or a smaller decoding.batch_size, take less memory"
        ) from error


# ---- in a worker ----------------------------------------------------------------------------------------------------

_build_engine: EngineBuilder


def _begin(starter: Connection, build_engine: EngineBuilder, threads: int) -> None:
    global _build_engine
    end_with(starter)
    keep_freed_memory()
    quiet_transformers()
    use_threads(threads)
    _build_engine = build_engine


@cache
def _engine() -> Engine:
    return _build_engine()


def _continue(group: int, prompts: NDArray) -> NDArray:
    new: NDArray = _engine().continue_prompts(torch.from_numpy(prompts), group).numpy()
    return new
