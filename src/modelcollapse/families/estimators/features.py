"""Features of labelled rows: those of the real data, which models may label again, or fresh ones."""

import torch

from modelcollapse.seeding import Stream


def standard_features(replicates: int, rows: int, dimension: int, stream: Stream) -> torch.Tensor:
    """Features x ~ N(0, I), [R, rows, d]; fewer rows of the same stream are the first of more."""
    normal = stream.within("features").numpy().standard_normal((rows, replicates, dimension))
    return torch.from_numpy(normal).transpose(0, 1).contiguous()


class Features:
    """The features that a chain's models label; those of the real data are kept from one set to the next."""

    def __init__(self, replicates: int, dimension: int, *, are_fresh: bool, sharing: int = 1) -> None:
        """``are_fresh``: whether a model labels features of its own, or those of the real rows again.

        ``sharing`` members of a population have the same real rows; they are the replicates j R + r for j = 0, 1, ...
        """
        self._replicates, self._dimension, self._are_fresh = replicates, dimension, are_fresh
        self._sharing = sharing
        self._kept: tuple[tuple[int, int], torch.Tensor] | None = None

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """The features of a set of the true distribution, [R, rows, d]."""
        return standard_features(self._replicates, rows, self._dimension, stream)

    def labelled(self, rows: int, stream: Stream) -> torch.Tensor:
        """The features that the model of ``stream.generation`` labels, [R, rows, d].

        Those of the real rows, and as many more of their stream where a model writes more rows than there are.
        """
        if self._are_fresh:
            return self.real(rows, stream)
        wanted = (stream.seed, rows)
        if self._kept is None or self._kept[0] != wanted:
            found = self.real(rows, Stream(stream.seed, 0, "real"))
            first = found[: self._replicates // self._sharing]
            self._kept = wanted, found if self._sharing == 1 else first.repeat(self._sharing, 1, 1)
        return self._kept[1]
