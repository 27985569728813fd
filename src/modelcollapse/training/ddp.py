"""Lightning's side of a fit that several processes of one machine share, which ranks.py has started."""

import signal
from threading import current_thread, main_thread
from typing import Any

from lightning_fabric.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy

from modelcollapse.data.batches import Share


class OneMachine(ClusterEnvironment):
    """Tells Lightning which of the processes this one is; that they are there; and nothing else."""

    def __init__(self, share: Share) -> None:
        self._share = share

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Not needed: the processes have met."""
        raise NotImplementedError

    @property
    def main_port(self) -> int:
        """Not needed: the processes have met."""
        raise NotImplementedError

    @staticmethod
    def detect() -> bool:
        """Never found in an environment."""
        return False

    def world_size(self) -> int:
        """Number of processes."""
        return self._share.world_size

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        """Number of this process."""
        return self._share.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        """Number of this process, and of its GPU."""
        return self._share.rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


class SharedFit(DDPStrategy):
    """Gradients are averaged over the processes; each has its own batches, made to be averaged."""

    def __init__(self, share: Share) -> None:
        super().__init__(
            cluster_environment=OneMachine(share),
            forward_sync_buffers=False,
            # Otherwise gradients are laid out anew after the first step, and in a fit that is resumed after its first
            # step again: sums over three processes and more would be added up in another order there.
            find_unused_parameters=True,
        )
        self._on_stop = signal.getsignal(signal.SIGTERM)

    def barrier(self, *arguments: Any, **named: Any) -> None:
        """Wait for all, with the signal to stop left to the chain.

        Lightning takes it before the first barrier of a fit, to tell the others, who are at something else: it would
        wait for them for ever.
        """
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, self._on_stop)
        super().barrier(*arguments, **named)

    def _configure_launcher(self) -> None:
        """None: Lightning's would choose a number of threads."""

    def on_exception(self, exception: BaseException) -> Any:
        """Leave errors as they are."""
