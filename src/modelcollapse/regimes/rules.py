"""Regimes by rule: a registered class composes the training set of each generation out of shares of named sets.

A rule is a class with ``compose(generation)``, which lists the draws of generation t >= 1, a :class:`Draw` each, made
by ``Draw.real``, ``Draw.latest``, ``Draw.synthetic``, ``Draw.pool``, ``Draw.training_set`` and ``Draw.fresh``. Shares
are in units of n, the number of real rows; a draw is without replacement, a share that is all of its sets takes them
whole. A rule may also have

* ``rows(generation)``, the rows that the model of a generation generates, in units of n; 1.0 by default;
* ``fresh_share``, the real rows that are set aside for each generation, in units of n; 0.0 by default;
* ``problems()``, what is wrong between its settings, a message a problem.

What is random about a draw comes from a stream of the chain's seed and the generation, whose stage is ``draw.rule`` and
the names of the sets: ``draw.rule.real``, ``draw.rule.synthetic_3``. Draws of different sets are thus independent, and
a smaller share of the same set is part of a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any

from modelcollapse.regimes.composition import KEPT, REAL, Draw, Source, canonical
from modelcollapse.regimes.rows import DrawError
from modelcollapse.regimes.settings import GeneralSettings, RegimeSettings
from modelcollapse.regimes.shares import exact
from modelcollapse.registry import Choice, read_choice, registry
from modelcollapse.seeding import Stream
from modelcollapse.settings import EXECUTION, UNKNOWN, UseOfUnknownError, read_what_can_be, shown

RULE, NAME = "rule", "name"
"""Settings of a regime by rule that are not the rule's own."""
GENERAL = frozenset({"alpha", "beta", "gamma"})
"""Settings that only the general form has."""
WEIGHT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class RuleRegime:
    """A regime that a registered rule composes."""

    name: Annotated[str, EXECUTION]
    """Label for people and figures; part of no key."""
    rule: Choice
    """The rule, with its settings."""

    accumulates = False

    @property
    def fresh(self) -> Fraction:
        """Real rows set aside for each generation, in units of n."""
        return exact(getattr(_rule(self.rule), "fresh_share", 0.0))

    def problems(self) -> list[str]:
        """What the rule finds wrong between its settings."""
        find = getattr(_rule(self.rule), "problems", None)
        return [] if find is None else list(find())

    def draws(self, generation: int, stream: Stream) -> Sequence[Draw]:
        """The draws of D_t. Raises DrawError where the rule composes what there is not."""
        return [
            taken
            for draw in _composed(self, self.rule.member.load(), generation)
            for taken in _taken(draw, self._rows_of(draw), generation, stream)
        ]

    def _rows_of(self, draw: Draw) -> Fraction:
        """Rows that the sets of a draw hold together, in units of n."""
        if draw.reused is not None:
            return self._training_rows(draw.reused.generation or 0)
        sizes = {"real": Fraction(1), "fresh": self.fresh}
        held = (sizes.get(each.kind) or self.generated_rows(each.generation or 0) for each in draw.sources)
        return sum(held, Fraction(0))

    def _training_rows(self, generation: int) -> Fraction:
        """Rows that a generation is trained on, in units of n; a training set in it always has a number of them."""
        if generation == 0:
            return Fraction(1)
        draws = _composed(self, self.rule.member.load(), generation)
        return sum((self._rows_of(draw) if draw.rows is None else exact(draw.rows) for draw in draws), Fraction(0))

    def generated_rows(self, generation: int) -> Fraction:
        """Rows that model ``generation`` generates, in units of n. Raises DrawError for an invalid number."""
        rows = getattr(_rule(self.rule), "rows", None)
        share = 1.0 if rows is None else _called(self, "rows", generation)
        if not _is_share(share) or share <= 0:
            raise DrawError(f"rows({generation}) of regime={self.name} is {share!r}; it must be a number above 0")
        return exact(share)

    def kinds_of_generation(self, generations: int) -> Iterable[int]:
        """Every one: a rule may compose each in its own way."""
        return range(1, generations + 1)

    def small_shares(self, generations: int, real_rows: int) -> list[str]:
        """Nothing: no setting is known to be a share."""
        return []


def _rule(choice: Choice) -> Any:
    return choice.build()


def _called(regime: RuleRegime, method: str, generation: int) -> Any:
    """Call a method of the rule for a generation; an error in it is raised with both named."""
    try:
        return getattr(_rule(regime.rule), method)(generation)
    except UseOfUnknownError:
        raise
    except Exception as error:
        error.add_note(f"in {method}({generation}) of regime={regime.name}")
        raise


@lru_cache(maxsize=4096)
def _composed(regime: RuleRegime, implementation: Any, generation: int) -> tuple[Draw, ...]:
    """The draws that the rule asks for, with absolute generations, those of nothing left out.

    ``implementation`` distinguishes a rule from one of the same name and settings that a notebook defined before.
    """
    given = _called(regime, "compose", generation)
    where = f"regime={regime.name} composes generation {generation}"
    if not isinstance(given, (list, tuple)) or not all(isinstance(draw, Draw) for draw in given):
        raise DrawError(f"{where} of {given!r}; it must be a list of Draw.real(...), Draw.latest(...) and the like")
    draws = [_absolute(draw, generation) for draw in given if draw.rows != 0]
    if problem := next(_draw_problems(regime, draws, generation), None):
        raise DrawError(f"{where} of {problem}")
    return tuple(draws)


def _absolute(draw: Draw, generation: int) -> Draw:
    sources = [
        source
        if source.generation is None
        else Source("fresh", generation)
        if source.kind == "fresh"
        else Source(source.kind, source.generation + generation if source.generation < 0 else source.generation)
        for source in draw.sources
    ]
    return replace(draw, sources=tuple(sources))


def _draw_problems(regime: RuleRegime, draws: Sequence[Draw], generation: int) -> Iterator[str]:
    """The draws whose sets do not exist, a clause each."""
    if not draws:
        yield "nothing; it must draw from at least one set"
    for draw in draws:
        yield from _source_problems(draw, generation)
        if draw.rows is not None and (not _is_share(draw.rows) or draw.rows < 0):
            yield f"a share of {draw.rows!r} of {_names(draw)}; it must be a number of 0 or more"
        elif draw.sources[0].kind == "fresh" and draw.rows is not None and exact(draw.rows) != regime.fresh:
            yield f"{draw.rows:g} fresh rows; it must be the rule's fresh_share, which is {float(regime.fresh):g}"
    if len({draw.sources for draw in draws}) < len(draws):
        yield "several draws from the same set; it must be one of their shares together"
    yield from _weight_problems(draws)


def _source_problems(draw: Draw, generation: int) -> Iterator[str]:
    if not draw.sources:
        yield "a draw from no set at all"
    if len(set(draw.sources)) < len(draw.sources):
        yield f"a draw from {_names(draw)}, where one set is named twice"
    for source in draw.sources:
        if source.kind == "synthetic" and source.generation is not None and not 0 <= source.generation < generation:
            yield f"what generation {source.generation} wrote; there are generations 0 to {generation - 1} by then"
        if source.kind == "training" and (source.generation != generation - 1 or len(draw.sources) > 1):
            yield f"a draw from {_names(draw)}; only Draw.training_set, of the generation before alone, is possible"


def _weight_problems(draws: Sequence[Draw]) -> Iterator[str]:
    weights = [draw.weight for draw in draws if draw.weight is not None]
    if not weights:
        return
    if len(weights) < len(draws):
        yield "draws with a weight and draws without; it must be all or none"
    elif not all(_is_share(weight) and weight > 0 for weight in weights) or (
        abs(math.fsum(weights) - 1) > WEIGHT_TOLERANCE
    ):
        yield f"draws that weigh {', '.join(map(str, weights))}; these must be above 0, and 1 together"


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _taken(draw: Draw, held: Fraction, generation: int, stream: Stream) -> list[Draw]:
    """The draw as it is carried out: its sets whole, or rows of their union, drawn with a stream of its own."""
    if draw.rows is not None and exact(draw.rows) > held:
        raise DrawError(
            f"a share of {draw.rows:g} is to be drawn without replacement from [{_names(draw)}], which hold"
            f" {float(held):g}"
        )
    if draw.sources[0].kind == "fresh":
        return [replace(draw, rows=float(held), stream=None)]
    if draw.reused is not None and generation > 1 and exact(draw.rows or 0) == held:
        return [replace(draw, rows=float(held), stream=None)]
    drawn_at = 0 if draw.stream == KEPT else generation
    stream = replace(stream, stage=f"{stream.stage}.rule.{_names(draw)}", generation=drawn_at)
    if draw.reused == Source("training", 0):
        # D_0 is H, under a stream of its own: rows of H that the rule asks for beside these are drawn apart.
        draw = replace(draw, sources=(REAL,))
    if draw.rows is None or exact(draw.rows) == held:
        # Weighted apart, sets that are taken whole stay one draw; else each is one, as in every other regime.
        groups = [(source,) for source in draw.sources] if draw.weight is None else [draw.sources]
        return [Draw(group, weight=draw.weight) for group in groups]
    return [replace(draw, stream=stream)]


def _names(draw: Draw) -> str:
    """The sets of a draw, consecutive synthetic ones by their ends: ``real.synthetic_0_to_41``."""
    names: list[str] = [source.kind for source in draw.sources if source.generation is None]
    runs: list[list[Any]] = []
    for source in draw.sources:
        if source.generation is None:
            continue
        if runs and runs[-1][0] == source.kind and source.generation == runs[-1][2] + 1:
            runs[-1][2] = source.generation
        else:
            runs.append([source.kind, source.generation, source.generation])
    names += [f"{kind}_{first}" if first == last else f"{kind}_{first}_to_{last}" for kind, first, last in runs]
    return ".".join(names)


def composition_problems(regime: Any, generations: int) -> list[str]:
    """The first composition of generations 1 .. ``generations`` that there is not, as a message."""
    try:
        for generation in regime.kinds_of_generation(generations):
            canonical(regime.draws(generation, Stream(0, generation, "draw")))
    except DrawError as error:
        return [str(error)]
    return []


class RegimeReader:
    """Reads the settings of a regime: shares, the general form, or a ``rule`` that composes and its own settings."""

    def read(self, value: Any, path: str, problems: list[str]) -> Any:
        """One of the three, UNKNOWN where it is none; what is wrong is added to ``problems``."""
        if not isinstance(value, Mapping) or RULE not in value:
            general = isinstance(value, Mapping) and not GENERAL.isdisjoint(value)
            shares, found = read_what_can_be(GeneralSettings if general else RegimeSettings, value, path)
            problems += found
            return shares
        own, members = dict(value), registry("regimes")
        rule, name = own.pop(RULE), own.pop(NAME, None)
        if not isinstance(rule, str) or rule not in members:
            problems.append(f"{path}.{RULE}: {members.unknown(rule)}")
            return UNKNOWN
        if not isinstance(name, str | None):
            problems.append(f"{path}.{NAME}: {shown(name)} is not allowed; it must be text")
        choice = read_choice(members[rule], own, path, problems)
        return UNKNOWN if choice is UNKNOWN else RuleRegime(str(name or rule), choice)

    def describe(self) -> str:
        """What a regime may be."""
        return "a group of settings"
