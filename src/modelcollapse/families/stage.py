"""Stages: functions that build artifacts, each with the version and the digest of the code that it runs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from modelcollapse.code_digests.house import Code, code_identity, verify_sources
from modelcollapse.families.options import family_options
from modelcollapse.registry import PACKAGE, registry
from modelcollapse.store import Artifact, BuildContext
from modelcollapse.store.artifacts import Work

EXECUTION = "modelcollapse.training.trainer"
POPULATION_STAGES = "modelcollapse.families.populations.stages:STAGES"


@dataclass(frozen=True)
class Stage:
    """A registered function that builds an artifact: it fills ``context.folder``.

    It is light: what it needs that is heavy it imports inside its body. Its digest covers the modules that it imports
    there, and what these import; see :mod:`modelcollapse.code_digests.house`.
    """

    name: str
    """``family.stage``, such as ``language_model.fit``: part of every recipe, and its name in the lock."""
    version: int
    """Raised by hand when it comes to mean other numbers."""
    function: Callable[..., None]
    """Called with the family's stage context, the build context, and its own arguments by name."""
    more_code: tuple[Code, ...] = ()
    """Further code that decides its numbers, such as the estimator that it is given."""
    without: tuple[str, ...] = ()
    """Functions that it never runs though it imports their module: ``module:Class.method``."""
    work: Work = "measurement"
    """Kind of work that it is, for plans."""
    only_with: str = ""
    """Setting, such as ``merge``, by which alone it is run: it is no part of the ids of other chains."""

    @property
    def lock_name(self) -> str:
        """Its name in the lock."""
        return f"stages/{self.name}"

    @property
    def code(self) -> tuple[Code, ...]:
        """All code that decides its numbers, the trainer of its Execution included."""
        return (self.function, *self.more_code, EXECUTION)

    def recipe(self) -> dict[str, Any]:
        """Its entry in a recipe: name, version and digest of its code."""
        return {"stage": self.name, **code_identity(self.lock_name, self.version, self.code, self.without)}

    def build(self, stage_context: Any, **arguments: Any) -> Callable[[BuildContext], None]:
        """The ``build`` of an artifact: the function with all arguments but the build context."""
        return partial(_run, self.function, stage_context, arguments)


def stage(
    name: str, version: int, work: Work = "measurement", only_with: str = ""
) -> Callable[[Callable[..., None]], Stage]:
    """Decorator that makes a function a :class:`Stage`."""
    return lambda function: Stage(name, version, function, work=work, only_with=only_with)


@dataclass(frozen=True)
class Declare:
    """Declares the artifacts of a family whose stages are all given one context."""

    context: Any

    def __call__(
        self,
        kind: str,
        stage: Stage,
        recipe: Mapping[str, Any],
        parents: Mapping[str, Artifact],
        label: str,
        expected_bytes: int | None = None,
        *,
        operations: float | None = None,
        progress_bytes: int | None = None,
        **arguments: Any,
    ) -> Artifact:
        """Declare an artifact that a stage builds; the stage's version and digest complete its recipe.

        What is expected of its size and work is for plans; ``arguments`` are the stage's.
        """
        build = stage.build(self.context, **arguments)
        complete, expected = {**stage.recipe(), **recipe}, (expected_bytes, stage.work, operations, progress_bytes)
        return Artifact(kind, complete, parents, build, label, *expected)


def _run(function: Callable[..., None], stage_context: Any, arguments: dict[str, Any], context: BuildContext) -> None:
    from modelcollapse.training.processes import give_back_memory, set_imports_aside

    verify_sources()
    function(stage_context, context, **arguments)
    # Detects source files that were edited between the digest and their import.
    verify_sources()
    if give_back_memory():
        set_imports_aside()


def stages_of(family: str) -> Sequence[Stage]:
    """The stages of a registered family; none where it declares none."""
    place = family_options(family).stages
    return _named(place) if place else ()


def _named(place: str) -> Sequence[Stage]:
    """The stages at a place, ``"module:name"``."""
    module, _, name = place.partition(":")
    found: Sequence[Stage] = getattr(import_module(module), name)
    return found


def chain_code(family: str, used: Collection[str] = ()) -> dict[str, Any]:
    """Code identity for a chain's id: of all stages that do more than measure, of optional ones those ``used``."""
    stages = {
        stage.name: stage.recipe()
        for stage in stages_of(family)
        if stage.work != "measurement" and (not stage.only_with or stage.only_with in used)
    }
    return stages or {family: registry("families")[family].identity()}


def declared_stages(package: str = PACKAGE) -> list[Stage]:
    """The stages of all families of a package, each once, and those of populations, which are no family's own."""
    families = [member.name for member in registry("families").members() if member.package == package]
    found = [stage for family in families for stage in stages_of(family)]
    if package == PACKAGE:
        found += _named(POPULATION_STAGES)
    return list({stage.name: stage for stage in found}.values())
