"""The artifact of a merge: the recipe and the parents of a network whose weights were merged."""

from dataclasses import dataclass
from typing import Any

from modelcollapse.merges.settings import PREVIOUS, REFERENCE, STREAM
from modelcollapse.registry import Choice, needs_of
from modelcollapse.seeding import Stream
from modelcollapse.store import Artifact

FITTED, MERGED = "fitted", "merged"
"""Role of the network as it was fitted, and kind of the artifact that holds the merged one."""


@dataclass(frozen=True)
class Merging:
    """How the weights of one generation are merged."""

    method: Choice
    stream: Stream

    @classmethod
    def of(cls, method: Choice, seed: int, generation: int) -> "Merging":
        """The merge of a generation of a chain."""
        return cls(method, Stream(seed, generation, "merge"))

    def recipe(self) -> dict[str, Any]:
        """What decides the merged weights beside those that they are made of."""
        needs = needs_of(self.method)
        return {"merge": self.method.recipe(), "stream": self.stream.recipe() if STREAM in needs else None}

    def parents(self, fitted: Artifact, reference: Artifact, previous: Artifact) -> dict[str, Artifact]:
        """The models that the merge is given, by role."""
        models = {REFERENCE: reference, PREVIOUS: previous}
        return {FITTED: fitted, **{role: models[role] for role in models if role in needs_of(self.method)}}
