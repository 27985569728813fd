"""The regime ``every_kth``: real data again at every k-th generation, what the last model wrote otherwise."""

from modelcollapse import Draw


class EveryKth:
    """Composes a generation out of exact shares of named sets; see modelcollapse.regimes.rules for what there is."""

    def __init__(self, k: int) -> None:
        self._k = k

    def compose(self, generation: int) -> list[Draw]:
        """The draws of a generation, from 1."""
        return [Draw.real()] if generation % self._k == 0 else [Draw.latest()]
