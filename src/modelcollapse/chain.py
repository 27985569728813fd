"""The loop over generations: fit, score, write, measure, and train the next one on what was written.

The loop first declares every artifact (kind, recipe, parents) and then obtains each from the store, which computes
only what it lacks. It knows no model family: an artifact may hold many generations, where these are cheap.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from modelcollapse.config.settings import ChainSettings
from modelcollapse.data import data_code
from modelcollapse.edits.settings import PRIOR_FOLDER, folder_of, is_edited
from modelcollapse.errors import UserError
from modelcollapse.families.base import Family, GenerationResult, callbacks_recipe
from modelcollapse.families.populations.lineages import members_of
from modelcollapse.families.populations.recipes import whole_of
from modelcollapse.families.populations.results import joined, member_results, union_metrics
from modelcollapse.families.populations.stages import population_code
from modelcollapse.families.stage import chain_code
from modelcollapse.lineages import declared
from modelcollapse.merges.settings import is_merged
from modelcollapse.preflight import prepare
from modelcollapse.selections.recipes import ONLY_WITH
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact, Store, canonical_json

if TYPE_CHECKING:
    from modelcollapse.record import Record

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Generation:
    """The declared artifacts of one generation, role -> artifact, in the order of work."""

    number: int
    artifacts: Mapping[str, Artifact]


@dataclass(frozen=True)
class Work:
    """A finished generation: its result, and the stages that were computed in this run."""

    generation: Generation
    result: GenerationResult
    computed: Sequence[Artifact]
    seconds: float
    """Wall seconds of the stages computed now."""
    members: Sequence[GenerationResult]
    """The result of each member of a population; the one result where there is none."""


def chain_generations(settings: ChainSettings, family: Family) -> list[Generation]:
    """The declared generations 0 .. N of a chain: their artifacts follow from the settings alone."""
    return list(_declared(settings, family))


def chain_artifacts(settings: ChainSettings, family: Family) -> list[Artifact]:
    """The declared artifacts of all generations of a chain."""
    return artifacts_of(_declared(settings, family))


def artifacts_of(generations: Iterable[Generation]) -> list[Artifact]:
    """The artifacts of generations."""
    return [artifact for generation in generations for artifact in generation.artifacts.values()]


def _declared(settings: ChainSettings, family: Family) -> Iterator[Generation]:
    return (Generation(number, artifacts) for number, artifacts in declared(settings, family))


def chain_id(settings: ChainSettings) -> str:
    """A stable name of the chain: the same for every run of it, wherever it is executed, and when it is lengthened.

    Edited code makes another chain, as other settings do; code that only measures does not.
    """
    content = {
        **identity_of(replace(settings, population=settings.population.canonical)),
        **callbacks_recipe(settings.callbacks),
        "code": [chain_code(settings.model.family, _optional_stages(settings)), data_code(settings.data)],
    }
    if code := population_code(settings.population):
        content["population_code"] = code
    return sha256(canonical_json(content).encode()).hexdigest()[:16]


def _optional_stages(settings: ChainSettings) -> list[str]:
    """The settings by which stages are run that other chains do not have."""
    used = {
        "merge": is_merged(settings.merge),
        "editing": is_edited(settings.editing),
        PRIOR_FOLDER: folder_of(settings.editing) is not None,
        ONLY_WITH: settings.selection.selects_training_sets,
    }
    return [name for name, is_used in used.items() if is_used]


def goals(generation: Generation, settings: ChainSettings, family: Family) -> list[Artifact]:
    """The artifacts of a generation that must be in the store at the end; others are made only where one needs them."""
    is_end = generation.number in (0, settings.generations)
    dispensable = () if settings.store.keep == "all" or is_end else tuple(family.reclaimable())
    return [artifact for artifact in generation.artifacts.values() if artifact.kind not in dispensable]


def chain_goals(generations: Iterable[Generation], settings: ChainSettings, family: Family) -> list[Artifact]:
    """The artifacts that the chain must leave, each once."""
    return list(dict.fromkeys(goal for each in generations for goal in goals(each, settings, family)))


def run_chain(
    settings: ChainSettings,
    family: Family,
    store: Store,
    record: "Record",
    noted_as: Path | None = None,
    generations: Sequence[Generation] | None = None,
) -> Iterator[Work]:
    """Compute the chain, yielding each generation once it is finished and recorded.

    The store notes that the record's folder refers to the artifacts, or ``noted_as`` where that will be its place.
    ``generations`` are the declared ones, where they are at hand.
    """
    previous: Generation | None = None
    known: Mapping[Artifact, Path] = {}
    generations = chain_generations(settings, family) if generations is None else generations
    artifacts = artifacts_of(generations)
    wanted = chain_goals(generations, settings, family)
    kept = set(wanted)
    place = noted_as or record.folder
    # Before any work, so that a garbage collection of another process keeps what this run is going to read.
    store.note_run(record.identity.id, place, artifacts, [each for each in artifacts if each not in kept])
    taken_in = prepare(settings, family, store, wanted)
    families = members_of(settings, family)
    inputs = [measured_inputs(member, store) for member in families]
    joint = joint_inputs(family, store) if len(families) > 1 else {}
    record.document(METRICS_FILE, metrics_text(family))
    for generation in generations:
        # An artifact that holds several generations is obtained once, with the first of them.
        new = (goal for goal in goals(generation, settings, family) if goal not in known)
        # Inputs that prepare() built are reported with the first generation.
        computed, taken_in = [*taken_in, *(made for goal in new for made in _make_missing(store, goal))], []
        folders = {
            role: known.get(artifact) or store.obtain(artifact)
            for role, artifact in generation.artifacts.items()
            if artifact in known or store.has(artifact)
        }
        members = [
            _unbroken(result, generation, settings)
            for result in member_results(families, generation.number, inputs, folders)
        ]
        result = members[0]
        if len(members) > 1:
            result = joined(members, union_metrics(family, generation.number, joint, folders))
        _record(record, generation, result, store, folders, computed, known)
        known = {generation.artifacts[role]: folder for role, folder in folders.items()}
        # One generation late: this one may have started from the weights of the previous one.
        if previous is not None:
            _reclaim(previous, settings, family, store, place)
        seconds = sum(store.manifest(artifact).seconds for artifact in computed if store.has(artifact))
        yield Work(generation, result, computed, seconds, members)
        previous = generation


def measured_inputs(family: Family, store: Store) -> dict[str, Path]:
    """Role -> folder of the inputs from which metrics are computed."""
    roles = family.metrics.roles(family.subjects(0))
    return {role: store.obtain(artifact) for role, artifact in family.inputs().items() if role in roles}


def joint_inputs(family: Family, store: Store) -> dict[str, Path]:
    """The same for what all members of a population wrote: of real data that are split, all."""
    roles = family.metrics.roles(family.subjects(0))
    inputs = {role: whole_of(artifact) for role, artifact in family.inputs().items() if role in roles}
    return {role: store.obtain(artifact) for role, artifact in inputs.items()}


def metrics_text(family: Family) -> str:
    """The content of ``metrics.json``: version of each metric, and the roles of the artifacts it is computed from."""
    return json.dumps(family.metrics.identity(family.subjects(0)), indent=1) + "\n"


def _unbroken(result: GenerationResult, generation: Generation, settings: ChainSettings) -> GenerationResult:
    """The result, marked where the fit stopped because its loss was NaN or infinite.

    Raises UserError under ``trainer.on_nan=stop``: the artifact may come from a run under ``continue``.
    """
    broken = [line for line in result.epochs if not all(map(math.isfinite, line.values()))]
    if not broken:
        return result
    if settings.trainer.on_nan == "stop":
        raise UserError(
            f"generation {generation.number}: the loss became NaN or infinite in epoch {broken[0]['epoch']}, and the"
            " weights of an epoch before were taken; trainer.on_nan=continue goes on with them"
        )
    return replace(result, metrics={**result.metrics, "fit/broken_epoch": broken[0]["epoch"]})


def _make_missing(store: Store, goal: Artifact) -> list[Artifact]:
    missing = store.missing([goal])
    for artifact in missing:
        store.obtain(artifact)
    return [artifact for artifact in missing if store.has_built(artifact)]


def _record(
    record: "Record",
    generation: Generation,
    result: GenerationResult,
    store: Store,
    folders: Mapping[str, Path],
    computed: Sequence[Artifact],
    known: Collection[Artifact],
) -> None:
    for line in result.epochs:
        record.epoch(generation.number, line)
    seen = set(known)
    for role in folders:
        artifact = generation.artifacts[role]
        if artifact in seen:
            continue
        # Several members may have been given one artifact.
        seen.add(artifact)
        manifest = store.manifest(artifact)
        record.timing(
            generation.number,
            role,
            manifest.seconds,
            computed=artifact in computed,
            key=artifact.key,
            **_rate(manifest.execution.get("tokens"), manifest.seconds),
        )
    record.generation(
        generation.number,
        result.metrics,
        distributions=result.distributions,
        samples=result.samples,
        artifacts={role: artifact.key for role, artifact in generation.artifacts.items()},
        folders=folders,
    )


def _rate(tokens: int | None, seconds: float) -> dict[str, float]:
    return {"tokens_per_second": tokens / seconds} if tokens and seconds else {}


def _reclaim(generation: Generation, settings: ChainSettings, family: Family, store: Store, folder: Path) -> None:
    """Remove what ``store.keep=ends`` does not keep of a generation that nothing ahead needs, nor any other run."""
    wanted = goals(generation, settings, family)
    if unwanted := [artifact for artifact in generation.artifacts.values() if artifact not in wanted]:
        store.remove_unless_kept(unwanted, folder)
