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
from modelcollapse.errors import UserError
from modelcollapse.families.base import Family, GenerationResult, Span, callbacks_recipe, spans
from modelcollapse.families.stage import chain_code
from modelcollapse.merges.recipes import FITTED
from modelcollapse.merges.settings import is_merged
from modelcollapse.preflight import prepare
from modelcollapse.regimes import REAL, Draw, Source, compose, synthetic_rows, with_history
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact, Store, canonical_json

if TYPE_CHECKING:
    from modelcollapse.record import Record

MODEL, SYNTHETIC = "model", "synthetic"
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
    prompts = real = family.inputs().get(REAL.kind)
    sets: dict[Source, Artifact] = {} if real is None else {REAL: real}
    models: list[Artifact] = []
    before: tuple[Draw, ...] = ()
    for span in spans(settings.generations, family.segment_length):
        compositions: dict[int, tuple[Draw, ...]] = {}
        for number in span:
            before = compositions[number] = with_history(compose(settings.regime, number, settings.seed), before)
        drawn = dict.fromkeys(source for draws in compositions.values() for draw in draws for source in draw.sets)
        sets |= _fresh_sets(compositions, family)
        used = {source: sets[source] for source in drawn if source in sets}
        fitted = family.fit(span, compositions, used, _initial(family, models))
        model = _merged(settings, family, span, fitted, models)
        models.append(model)
        for number in span:
            rows = synthetic_rows(settings.regime, number)
            generated = family.synthesise(number, model, prompts, settings.selection.candidates(rows))
            selected = family.select(number, generated, model, models[0], rows)
            # The selected rows replace the synthetic set everywhere: in training sets, prompts and measurements.
            synthetic = sets[Source("synthetic", number)] = selected[SYNTHETIC]
            measurements = family.measurements(number, model, synthetic, models[0])
            own = {MODEL: model} if model is fitted else {FITTED: fitted, MODEL: model}
            yield Generation(number, _each_once({**own, **selected, **measurements}))
            prompts = synthetic if family.prompts == "previous" else prompts


def _merged(
    settings: ChainSettings, family: Family, span: Span, fitted: Artifact, models: Sequence[Artifact]
) -> Artifact:
    """The model that generates, is measured, and is started from; generation 0 is as it was fitted to real data."""
    if not models or not is_merged(settings.merge):
        return fitted
    return family.merge(span.first, fitted, models[0], models[-1])


def _fresh_sets(compositions: Mapping[int, Sequence[Draw]], family: Family) -> dict[Source, Artifact]:
    """The fresh real data that generations draw, where they are artifacts."""
    found = {
        source: family.fresh(number, draw.rows)
        for number, draws in compositions.items()
        for draw in draws
        for source in draw.sources
        if source.kind == "fresh" and draw.rows is not None
    }
    return {source: artifact for source, artifact in found.items() if artifact is not None}


def _each_once(artifacts: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """The artifacts under their first roles: a model that is its own synthetic set is named once."""
    found: dict[str, Artifact] = {}
    for role, artifact in artifacts.items():
        if artifact not in found.values():
            found[role] = artifact
    return found


def _initial(family: Family, models: Sequence[Artifact]) -> Artifact | None:
    """The weights that the next generation starts from; generation 0 has no earlier one."""
    if family.initial == "fresh":
        return None
    if family.initial == "pretrained" or not models:
        return family.pretrained()
    return models[0] if family.initial == "generation0" else models[-1]


def chain_id(settings: ChainSettings) -> str:
    """A stable name of the chain: the same for every run of it, wherever it is executed, and when it is lengthened.

    Edited code makes another chain, as other settings do; code that only measures does not.
    """
    content = {
        **identity_of(settings),
        **callbacks_recipe(settings.callbacks),
        "code": [chain_code(settings.model.family, _optional_stages(settings)), data_code(settings.data)],
    }
    return sha256(canonical_json(content).encode()).hexdigest()[:16]


def _optional_stages(settings: ChainSettings) -> list[str]:
    return ["merge"] if is_merged(settings.merge) else []


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
    declared = artifacts_of(generations)
    wanted = chain_goals(generations, settings, family)
    kept = set(wanted)
    place = noted_as or record.folder
    # Before any work, so that a garbage collection of another process keeps what this run is going to read.
    store.note_run(record.identity.id, place, declared, [each for each in declared if each not in kept])
    taken_in = prepare(settings, family, store, wanted)
    inputs = measured_inputs(family, store)
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
        result = _unbroken(family.result(generation.number, {**inputs, **folders}), generation, settings)
        _record(record, generation, result, store, folders, computed, known)
        known = {generation.artifacts[role]: folder for role, folder in folders.items()}
        # One generation late: this one may have started from the weights of the previous one.
        if previous is not None:
            _reclaim(previous, settings, family, store, place)
        seconds = sum(store.manifest(artifact).seconds for artifact in computed if store.has(artifact))
        yield Work(generation, result, computed, seconds)
        previous = generation


def measured_inputs(family: Family, store: Store) -> dict[str, Path]:
    """Role -> folder of the inputs from which metrics are computed."""
    roles = family.metrics.roles(family.subjects(0))
    return {role: store.obtain(artifact) for role, artifact in family.inputs().items() if role in roles}


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
    for role in folders:
        artifact = generation.artifacts[role]
        if artifact in known:
            continue
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
