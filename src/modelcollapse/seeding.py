"""One random stream per (seed, replicate, generation, stage, index).

Everything random in a chain draws from the stream named after the place where it is drawn, so a generation
gives the same numbers in whatever order, process or resumed run it is computed, and two places never share
numbers. Importing this module imports neither NumPy nor PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from operator import index as as_integer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Generator, Tensor
    from torch import device as Device  # noqa: N812

STREAM_VERSION = 1
"""Raised by hand when the same name comes to mean other numbers; it is part of every recipe, so stored work
is then redone.
"""

_MERSENNE_TWISTER_WORDS = 624
_TORCH_STATE_WORDS = slice(3, 3 + _MERSENNE_TWISTER_WORDS)
_TORCH_SEED_BITS = 63


@dataclass(frozen=True)
class Stream:
    """The name of a random stream, and the generators that it seeds.

    Equal names give equal numbers; names that differ in any part give independent ones. Any integer is
    allowed, negative ones included; integers of NumPy count as what they are worth, other types raise
    `TypeError`.
    """

    seed: int
    """The seed of the chain."""
    generation: int
    """The generation that the numbers are drawn for."""
    stage: str
    """What they are drawn for, such as `fit` or `draw.real`."""
    replicate: int = 0
    """The independent chain among those run in one batch of tensors."""
    index: int = 0
    """Number within the stage, such as that of an epoch or a shard."""

    def __post_init__(self) -> None:
        for name in ("seed", "generation", "replicate", "index"):
            value = getattr(self, name)
            if type(value) is not int:
                object.__setattr__(self, name, int(as_integer(value)))
        if not isinstance(self.stage, str):
            raise TypeError(f"the stage of a stream is a string, not {self.stage!r}")

    @cached_property
    def entropy(self) -> int:
        """128 bits that name the stream: BLAKE2b over its parts as canonical JSON.

        A hash and not the tuple itself, because `SeedSequence([3, 2, 1])` equals `SeedSequence([3, 2, 1,
        0])`. JSON marks where each part ends, what is text and what is negative, so different names are
        different bytes.
        """
        parts = [STREAM_VERSION, self.seed, self.replicate, self.generation, self.stage, self.index]
        name = json.dumps(parts, separators=(",", ":")).encode("ascii")
        return int.from_bytes(hashlib.blake2b(name, digest_size=16, person=b"modelcollapse").digest(), "big")

    def recipe(self) -> dict[str, int | str]:
        """The stream as JSON, for the key of what is drawn from it."""
        return {
            "version": STREAM_VERSION,
            "seed": self.seed,
            "replicate": self.replicate,
            "generation": self.generation,
            "stage": self.stage,
            "index": self.index,
        }

    def within(self, purpose: str) -> Stream:
        """The stream of one purpose inside the stage, such as dropout inside a fit."""
        return Stream(self.seed, self.generation, f"{self.stage}.{purpose}")

    def at(self, index: int) -> Stream:
        """The stream of the same stage at another index."""
        return replace(self, index=index)

    def numpy(self) -> np.random.Generator:
        """A NumPy generator (PCG64) seeded with the full entropy."""
        import numpy as np

        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.entropy)))

    def torch_seed(self) -> int:
        """A seed for what accepts only one number: 63 bits, so that it also fits a signed 64-bit integer.

        CUDA's generator (Philox) uses all of them. PyTorch's CPU generator (mt19937) uses the low 32 bits
        only: seeds 5 and 5 + 2**32 give the same numbers, and among 10,000 streams two agree with a
        probability of about 1 %. `torch()` has no such limit.
        """
        return self.entropy >> (128 - _TORCH_SEED_BITS)

    def torch(self, device: str | Device = "cpu") -> Generator:
        """A PyTorch generator: on the CPU seeded with the full entropy, elsewhere with `torch_seed()`."""
        import torch

        generator = torch.Generator(device)
        generator.manual_seed(self.torch_seed())
        if generator.device.type == "cpu":
            generator.set_state(_fill_mersenne_twister(generator.get_state(), self._mersenne_twister_words()))
        return generator

    def seed_global(self) -> None:
        """Seed the global generators of Python, NumPy and PyTorch (CPU and accelerators), and leave them so.

        What dropout and layer initialisation draw from. Inside a fit, call it with `at(epoch)` as each epoch
        starts: checkpoints hold no generator states, and an epoch then draws the same numbers whether or not
        the fit was resumed there.
        """
        import numpy as np
        import torch

        words = self._mersenne_twister_words()
        random.seed(self.entropy)
        np.random.set_state(("MT19937", words, _MERSENNE_TWISTER_WORDS, 0, 0.0))
        torch.manual_seed(self.torch_seed())
        torch.set_rng_state(_fill_mersenne_twister(torch.get_rng_state(), words))

    @contextmanager
    def global_rng(self) -> Iterator[None]:
        """Seed the global generators for a block of code, and put them back when it ends, however it ends.

        CUDA generators are restored if CUDA was in use on entry. Before its first use they hold no state to
        return to.
        """
        import numpy as np
        import torch

        python_state = random.getstate()
        numpy_state = np.random.get_state()
        torch_state = torch.get_rng_state()
        cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        self.seed_global()
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_rng_state(torch_state)
            if cuda_states is not None:
                torch.cuda.set_rng_state_all(cuda_states)

    def _mersenne_twister_words(self) -> NDArray[np.uint32]:
        import numpy as np

        state: dict[str, Any] = dict(np.random.MT19937(np.random.SeedSequence(self.entropy)).state)
        return state["state"]["key"]


def _fill_mersenne_twister(freshly_seeded: Tensor, words: NDArray[np.uint32]) -> Tensor:
    """The state of a just seeded CPU generator of PyTorch with its 624 words replaced.

    PyTorch stores each 32-bit word of the Mersenne Twister in 64 bits, after three 64-bit words of its own,
    which stay.
    """
    import numpy as np

    state = freshly_seeded.clone()
    state.numpy().view(np.uint64)[_TORCH_STATE_WORDS] = words
    return state
