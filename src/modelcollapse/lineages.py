"""The artifacts of a chain's generations, declared: of one lineage, or of each member of a population.

A lineage is a sequence of models, each trained on what those before it wrote. Those of a population are wired to each
other by their diets: what stands in a member's training sets for S_{t-1}.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelcollapse.config.settings import ChainSettings
from modelcollapse.edits.settings import is_edited
from modelcollapse.families.base import Family, Span, spans
from modelcollapse.families.populations.lineages import members_of, named_after
from modelcollapse.families.populations.recipes import DIET
from modelcollapse.merges.recipes import FITTED
from modelcollapse.merges.settings import is_merged
from modelcollapse.populations.members import UNION, member_role, member_seed, union_name, writer
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.regimes import REAL, Draw, Source, compose, synthetic_rows, with_history
from modelcollapse.selections.recipes import SELECTED_ROWS, SYNTHETIC
from modelcollapse.store import Artifact

MODEL = "model"

Artifacts = Mapping[str, Artifact]


def declared(settings: ChainSettings, family: Family) -> Iterator[tuple[int, dict[str, Artifact]]]:
    """Number and artifacts by role of each generation; a population's members beside the first have roles of their own.

    With several members the roles ``union`` and ``union/...`` are a sample of what all of them wrote, and what is
    measured of it.
    """
    population = settings.population
    families = members_of(settings, family)
    lineages = [_Lineage.of(settings, each, member, len(families) > 1) for member, each in enumerate(families)]
    for span in spans(settings.generations, family.segment_length):
        for lineage in lineages:
            lineage.fit(span, settings)
        for number in span:
            found = [lineage.generate(number, settings) for lineage in lineages]
            roles = {
                member_role(member, role): artifact
                for member, artifacts in enumerate(found)
                for role, artifact in artifacts.items()
            }
            if len(lineages) > 1:
                roles |= _joint(number, lineages[0], [artifacts[SYNTHETIC] for artifacts in found], found[0])
            yield number, roles
            _feed(lineages, number, population)


@dataclass
class _Lineage:
    """What has been declared of a lineage so far."""

    family: Family
    member: int
    seed: int
    is_member: bool
    """Whether there are others."""
    sets: dict[Source, Artifact]
    """What its training sets are drawn from: for S_t its diet."""
    prompts: Artifact | None
    models: list[Artifact] = field(default_factory=list)
    written: dict[int, Artifact] = field(default_factory=dict)
    """Its own synthetic sets."""
    before: tuple[Draw, ...] = ()
    diet: Artifact | None = None
    """The latest sample of others' rows that it is given and that is not yet among a generation's artifacts."""
    fitted: Artifacts = field(default_factory=dict)

    @classmethod
    def of(cls, settings: ChainSettings, family: Family, member: int, is_member: bool) -> "_Lineage":
        real = family.inputs().get(REAL.kind)
        sets = {} if real is None else {REAL: real}
        return cls(family, member, member_seed(settings.seed, member), is_member, sets, real)

    def fit(self, span: Span, settings: ChainSettings) -> None:
        """Declare the models of a span, merged after their fits where that is asked for."""
        compositions: dict[int, tuple[Draw, ...]] = {}
        for number in span:
            self.before = compositions[number] = with_history(compose(settings.regime, number, self.seed), self.before)
        drawn = dict.fromkeys(source for draws in compositions.values() for draw in draws for source in _held(draw))
        fresh = _fresh_sets(compositions, self.family)
        self.sets |= {source: self.named(artifact) for source, artifact in fresh.items()}
        used = {source: self.sets[source] for source in drawn if source in self.sets}
        chosen = self._selected_rows(settings, span, compositions, used)
        selected = {"selected": chosen[SELECTED_ROWS]} if chosen else {}
        self.sets |= {Source("training", span.first): rows for rows in selected.values()}
        fitted = self.named(self.family.fit(span, compositions, used, _initial(self.family, self.models), **selected))
        model = self._merged(settings, span, fitted)
        self.models.append(model)
        diet = self.diet if self.diet in (*used.values(), self.prompts) else None
        own = {MODEL: model} if model is fitted else {FITTED: fitted, MODEL: model}
        self.fitted, self.diet = {**({} if diet is None else {DIET: diet}), **chosen, **own}, None

    def _selected_rows(
        self,
        settings: ChainSettings,
        span: Span,
        compositions: Mapping[int, Sequence[Draw]],
        sets: Mapping[Source, Artifact],
    ) -> Artifacts:
        """What is selected from the training set of a span's one generation; nothing from generation 0's."""
        if not self.models or not settings.selection.selects_training_sets:
            return {}
        draws, writer, reference = compositions[span.first], self.models[-1], self.models[0]
        chosen = self.family.select_training_set(span.first, draws, sets, writer, reference)
        return {role: self.named(artifact) for role, artifact in chosen.items()}

    def _merged(self, settings: ChainSettings, span: Span, fitted: Artifact) -> Artifact:
        """The model that generates, is measured, and is started from; generation 0 is as it was fitted to real data."""
        if not self.models or not is_merged(settings.merge):
            return fitted
        merged = self.family.merge(span.first, fitted, self.models[0], self.models[-1])
        return fitted if merged is fitted else self.named(merged)

    def generate(self, number: int, settings: ChainSettings) -> dict[str, Artifact]:
        """Declare what is generated and measured of a generation; returns all its artifacts by role."""
        model, reference = self.models[-1], self.models[0]
        left = {role: self.named(artifact) for role, artifact in self._left(number, settings).items()}
        # What a selection keeps, or was edited, stands for S_t everywhere: in training sets, prompts and measurements.
        synthetic = self.written[number] = left[SYNTHETIC]
        measurements = self.family.measurements(number, model, synthetic, reference)
        measured = {role: self.named(artifact) for role, artifact in measurements.items()}
        return _each_once({**self.fitted, **left, **measured})

    def _left(self, number: int, settings: ChainSettings) -> Artifacts:
        """What a generation leaves to later ones, as ``synthetic``, and what that was made from, role -> artifact."""
        model, reference, family = self.models[-1], self.models[0], self.family
        if is_edited(settings.editing):
            return {SYNTHETIC: family.edit(number, model, reference, self.written.get(number - 1))}
        rows = synthetic_rows(settings.regime, number)
        generated = self.named(family.synthesise(number, model, self.prompts, settings.selection.candidates(rows)))
        return family.select(number, generated, model, reference, rows)

    def feed(self, number: int, diet: Artifact) -> None:
        """Take ``diet`` for S_t of generation t = ``number``: in training sets and as prompts."""
        self.sets[Source("synthetic", number)] = diet
        self.diet = diet if diet.kind == DIET else None
        self.prompts = diet if self.family.prompts == "previous" else self.prompts

    def named(self, artifact: Artifact) -> Artifact:
        """The artifact with a label that says whose it is."""
        return named_after(artifact, f"member {self.member}") if self.is_member else artifact


def _held(draw: Draw) -> tuple[Source, ...]:
    """What tells which rows a draw takes: the sets that hold them, and what was kept of training sets before."""
    return (*draw.sets, *draw.training_sets)


def _feed(lineages: Sequence[_Lineage], number: int, population: PopulationSettings) -> None:
    """Give each lineage its diet of what was written in a generation."""
    written = [lineage.written[number] for lineage in lineages]
    for lineage in lineages:
        if len(lineages) == 1:
            lineage.feed(number, written[0])
        elif population.diet == "union":
            lineage.feed(number, lineage.named(lineage.family.union(number, written)))
        else:
            lineage.feed(number, written[writer(population, lineage.member, lineage.seed, number)])


def _joint(number: int, first: _Lineage, sets: Sequence[Artifact], own: Artifacts) -> dict[str, Artifact]:
    """A sample of what all members wrote, and what is measured of it as of a set of the first member's."""
    sample = first.family.union(number, sets)
    measured = first.family.measurements(number, first.models[-1], sample, first.models[0])
    known = set(own.values())
    return {UNION: sample} | {
        union_name(role): named_after(artifact, "all members")
        for role, artifact in measured.items()
        if artifact not in known
    }


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


def _each_once(artifacts: Artifacts) -> dict[str, Artifact]:
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
