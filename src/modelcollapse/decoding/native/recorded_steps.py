"""Steps recorded once and then replayed: a GPU runs one without waiting for Python between its operators."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import torch

Step = Callable[[], None]


class Recorder(Protocol):
    """Makes of a step something that does the same, to the same memory, without running its code."""

    def warm_up(self, step: Step) -> None:
        """Run a step that will be recorded."""
        ...

    def record(self, step: Step) -> Step:
        """The recording of a step, which is not run."""
        ...


class CudaGraphs:
    """CUDA graphs in one pool of memory, so that what a step needs is there once: they run one after the other."""

    def __init__(self) -> None:
        self._stream, self._pool = _recording_stream(torch.cuda.current_device()), torch.cuda.graph_pool_handle()

    def warm_up(self, step: Step) -> None:
        """Run a step where it will be recorded: libraries make themselves ready there, which no graph can hold."""
        around = torch.cuda.current_stream()
        self._stream.wait_stream(around)
        with torch.cuda.stream(self._stream):
            step()
        around.wait_stream(self._stream)

    def record(self, step: Step) -> Step:
        """See Recorder. Other threads may use the GPU meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            step()
        return graph.replay


@cache
def _recording_stream(device: int) -> torch.cuda.Stream:
    """One for all graphs on a device: cuBLAS keeps a workspace for each."""
    return torch.cuda.Stream(device)


class RecordedSteps:
    """The steps of a batch of texts: run at first, recorded when the second batch comes, and replayed from there on."""

    def __init__(self, steps: Sequence[Step], recorder: Recorder) -> None:
        self._steps, self._recorder, self._warm = steps, recorder, False
        self._recorded: list[Step] = []

    def __call__(self) -> None:
        """All steps in order."""
        if not self._warm:
            for step in self._steps:
                self._recorder.warm_up(step)
            self._warm = True
            return
        if not self._recorded:
            self._recorded = [self._recorder.record(step) for step in self._steps]
        run_all(self._recorded)


def run_all(steps: Sequence[Step]) -> None:
    """Run steps in order."""
    for step in steps:
        step()
