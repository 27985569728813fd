"""Estimates the time and size of an artifact from the nearest artifacts of its kind that a store holds."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelcollapse.store.artifacts import Artifact
from modelcollapse.store.manifest import Manifest
from modelcollapse.store.store import Store

FOLLOWED_ROLES = ("real", "data", "model", "fitted", "initial", "candidates")
"""Parents whose recipes hold the sizes of data and network, which decide how much work an artifact is."""
DEPTH = 3
NOT_COMPARED = ("network bytes", "stream", "composition", "version", "generations", "seed", "generation")
WORK = ("epochs", "rows", "train_blocks", "train_rows", "maximum_blocks", "block_length", "replicates")
"""Names in a recipe that the time is proportional to."""

NETWORK_ROLES, NETWORK_KINDS = ("model", "initial", "reference"), ("model", "merged", "base", "pretrained")
"""Parents, and kinds of artifacts, that hold the network which an artifact is computed with."""
NETWORK = "network bytes"

Features = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """Time and size of an artifact; None where the store holds no artifact of its kind."""

    seconds: float | None
    bytes: int | None


@dataclass(frozen=True)
class _Made:
    """A finished artifact to estimate from."""

    features: Features
    seconds: float
    bytes: int


class Estimates:
    """Estimates from the artifacts that a store holds.

    Args:
        store: whose manifests hold the times and sizes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def expected(self, artifact: Artifact) -> Expected:
        """Time by the nearest recipes of the stage, in proportion to rows and epochs; size as declared, or theirs."""
        made = self._made.get(_stage(artifact), [])
        if not made:
            return Expected(None, artifact.expected_bytes)
        features = dict(_artifact_features(artifact)) | _network_of(artifact)
        nearest = min(_distance(features, other.features) for other in made)
        judges = [other for other in made if _distance(features, other.features) == nearest]
        seconds = sum(other.seconds * _times_the_work(features, other.features) for other in judges) / len(judges)
        size = max(other.bytes for other in judges) if artifact.expected_bytes is None else artifact.expected_bytes
        return Expected(seconds, size)

    @cached_property
    def _made(self) -> Mapping[tuple[str, str], list[_Made]]:
        manifests = {manifest.key: manifest for manifest in self._store.artifacts()}
        made: dict[tuple[str, str], list[_Made]] = {}
        for manifest in manifests.values():
            features = dict(_manifest_features(manifest, manifests)) | _network_in(manifest, manifests)
            size = sum(file.bytes for file in manifest.files.values())
            judge = _Made(features, manifest.seconds, size)
            made.setdefault(_stage(manifest), []).append(judge)
        return made


def _network_of(artifact: Artifact) -> Features:
    """Size of the network that an artifact is, or is computed with, as far as it is declared."""
    roles = (artifact.parents[role] for role in NETWORK_ROLES if role in artifact.parents)
    network = artifact if artifact.kind in NETWORK_KINDS else next(roles, None)
    return {NETWORK: network.expected_bytes} if network and network.expected_bytes else {}


def _network_in(manifest: Manifest, manifests: Mapping[str, Manifest]) -> Features:
    roles = (manifests.get(manifest.parents[role]) for role in NETWORK_ROLES if role in manifest.parents)
    network = manifest if manifest.kind in NETWORK_KINDS else next(roles, None)
    files = network.files.items() if network else ()
    size = sum(file.bytes for name, file in files if name.endswith(".safetensors"))
    return {NETWORK: size} if size else {}


def _stage(one: Artifact | Manifest) -> tuple[str, str]:
    """The kind of work, whatever the generation: a stage of its kind, or a family's segments."""
    name = one.recipe.get("family") or re.sub(r"[0-9]+", "", one.label)
    return one.kind, str(name)


def _artifact_features(artifact: Artifact, prefix: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    yield from _flat(artifact.recipe, prefix)
    for role in FOLLOWED_ROLES:
        if role in artifact.parents and depth:
            yield from _artifact_features(artifact.parents[role], f"{prefix}{role}>", depth - 1)


def _manifest_features(
    manifest: Manifest, manifests: Mapping[str, Manifest], prefix: str = "", depth: int = DEPTH
) -> Iterator[tuple[str, Any]]:
    yield from _flat(manifest.recipe, prefix)
    for role in FOLLOWED_ROLES:
        parent = manifests.get(manifest.parents.get(role, ""))
        if parent is not None and depth:
            yield from _manifest_features(parent, manifests, f"{prefix}{role}>", depth - 1)


def _flat(recipe: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in recipe.items():
        if isinstance(value, Mapping) and name != "stream":
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _compared(features: Features) -> Iterable[tuple[str, str]]:
    return {(name, repr(value)) for name, value in features.items() if _last(name) not in NOT_COMPARED}


def _distance(one: Features, other: Features) -> int:
    return len({*_compared(one)} ^ {*_compared(other)})


def _times_the_work(one: Features, other: Features) -> float:
    """The ratio of the work of two recipes, by the amounts that both hold."""
    own, others = _amounts(one), _amounts(other)
    return math.prod(own[name] / others[name] for name in own.keys() & others.keys())


def _amounts(features: Features) -> dict[str, float]:
    """What the time is proportional to."""
    amounts = {"draws": float(max(1, sum(_share(draw) for draw in features.get("composition") or ())))}
    if generations := features.get("generations"):
        amounts["generations"] = generations[1] - generations[0] + 1
    for name, value in features.items():
        is_of_own_data = not name.startswith(("model>", "initial>"))
        if is_of_own_data and _last(name) in (*WORK, NETWORK) and isinstance(value, int | float) and value > 0:
            amounts[name] = value
    return amounts


def _last(name: str) -> str:
    """The setting's own name, without the groups and the parents that it lies in."""
    return re.split("[/>]", name)[-1]


def _share(draw: Any) -> float:
    """Rows that a draw takes, in units of the real data, where the recipe holds them."""
    if not isinstance(draw, Mapping):
        return 0.0
    return len(draw.get("sources", ())) if draw.get("rows") is None else float(draw["rows"])
