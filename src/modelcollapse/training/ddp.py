"""DDP on one machine: Lightning's environment and strategy for the processes that ranks.py has started."""

from typing import Any

from lightning_fabric.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy

from modelcollapse.data.batches import Rank


class OneMachine(ClusterEnvironment):
    """Cluster environment of processes that are already connected: rank and world size, without addresses."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """True: ranks.py has started them."""
        return True

    @property
    def main_address(self) -> str:
        """Not needed: the process group exists already."""
        raise NotImplementedError

    @property
    def main_port(self) -> int:
        """Not needed: the process group exists already."""
        raise NotImplementedError

    @staticmethod
    def detect() -> bool:
        """Never found in an environment."""
        return False

    def world_size(self) -> int:
        """Number of ranks."""
        return self._rank.world_size

    def set_world_size(self, size: int) -> None:
        """Ignored: set at construction."""

    def global_rank(self) -> int:
        """Rank of this process."""
        return self._rank.index

    def set_global_rank(self, rank: int) -> None:
        """Ignored: set at construction."""

    def local_rank(self) -> int:
        """Rank of this process, which is also the number of its GPU."""
        return self._rank.index

    def node_rank(self) -> int:
        """0: there is one machine."""
        return 0


class SingleMachineDDP(DDPStrategy):
    """DDP whose gradients are averaged over the ranks of this machine; each rank loads its own part of every batch."""

    def __init__(self, rank: Rank) -> None:
        super().__init__(
            cluster_environment=OneMachine(rank),
            forward_sync_buffers=False,
            # Otherwise gradients are laid out anew after the first step, and in a fit that is resumed after its first
            # step again: sums over three processes and more would be added up in another order there.
            find_unused_parameters=True,
        )

    def _configure_launcher(self) -> None:
        """Configure none: Lightning's launcher would set the number of threads."""

    def on_exception(self, exception: BaseException) -> Any:
        """Leave errors as they are."""
