"""The stages of estimator families, and the context that they share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from modelcollapse.code_digests.house import Code
from modelcollapse.edits.settings import NO_EDIT
from modelcollapse.families.base import Span
from modelcollapse.families.stage import Stage
from modelcollapse.merges.settings import NO_MERGE
from modelcollapse.regimes import Draw
from modelcollapse.registry import Choice
from modelcollapse.store import BuildContext

if TYPE_CHECKING:
    from modelcollapse.families.estimators.diets import Diets
    from modelcollapse.families.estimators.estimator import Estimator, StatisticsEstimator
    from modelcollapse.families.estimators.selecting import Selector
    from modelcollapse.families.estimators.training import Samples, Statistics, TrainingSets
    from modelcollapse.training.trainer import Execution


@dataclass(frozen=True)
class StageContext:
    """Stage context: what all stages of one chain of an estimator family are given."""

    build_estimator: "Callable[[], Estimator]"
    by_statistics: bool
    """Whether sets are drawn as sufficient statistics, or as samples."""
    regime: Any
    rows: int
    """Real rows."""
    replicates: int
    seed: int
    selection: Any
    execution: "Execution"
    merge: Choice = NO_MERGE
    """How the parameters of each generation are merged after its fit."""
    diets: "Diets | None" = None
    """Whose rows members of a population are given; None where there is no population."""
    edit: Choice = NO_EDIT
    """How real rows are edited, in the place of sets that models write."""

    @cached_property
    def estimator(self) -> "Estimator":
        """The estimator."""
        return self.build_estimator()

    @cached_property
    def representation(self) -> "Samples | Statistics":
        """What sets of rows are made of."""
        from modelcollapse.families.estimators.training import Samples, Statistics

        return (
            Statistics(cast("StatisticsEstimator", self.estimator)) if self.by_statistics else Samples(self.estimator)
        )

    @cached_property
    def training_sets(self) -> "TrainingSets":
        """The training sets of the chain; kept from segment to segment, for the sets that they hold."""
        from modelcollapse.families.estimators.training import TrainingSets

        selection = self.selection
        return TrainingSets(
            self.representation,
            self.regime,
            self.seed,
            self.rows,
            selects=self.selector if selection.selects_synthetic else None,
            selects_of_sets=self.selector if selection.selects_training_sets else None,
            kept=selection.size,
            diets=self.diets,
            edit=self.edit,
        )

    @cached_property
    def selector(self) -> "Selector":
        """What chooses among the rows of the chain. Its code stands in recipes as that of the stage ``select``."""
        from modelcollapse.families.estimators.selecting import Selector

        return Selector(self.estimator, self.selection, self.regime, self.seed, self.rows, self.diets)


def fit(stage: StageContext, context: BuildContext, *, span: Span, compositions: Mapping[int, Sequence[Draw]]) -> None:
    """A span of generations, fitted one after the other."""
    from modelcollapse.families.estimators.training import fit_generations

    fit_generations(stage, context, span, compositions)


def measure(stage: StageContext, context: BuildContext) -> None:
    """What the estimator measures of the generations of a segment."""
    from modelcollapse.families.estimators.training import measure_generations

    measure_generations(stage, context)


def select(stage: StageContext, context: BuildContext) -> None:
    """What a selection keeps of the rows that the models of a segment write."""
    from modelcollapse.families.estimators.selecting import measure_selections

    measure_selections(stage, context)


class EstimatorStages(NamedTuple):
    """The stages of an estimator family."""

    fit: Stage
    measure: Stage
    select: Stage
    """Its code is in the recipes of fits as well, where a selection is active."""


def estimator_stages(
    family: str,
    estimator: Code,
    *,
    scoring: Sequence[str] = (),
    fit_version: int = 1,
    measure_version: int = 1,
    select_version: int = 1,
) -> EstimatorStages:
    """The stages of a family whose estimator is the class named by its place, or a class from outside.

    ``scoring`` names the methods that only selections run.

    An edit of how a built-in estimator measures makes no fit anew, and the other way round.
    """
    if not isinstance(estimator, str):
        return EstimatorStages(
            Stage(f"{family}.fit", fit_version, fit, (estimator,), work="fit"),
            Stage(f"{family}.measure", measure_version, measure, (estimator,)),
            Stage(f"{family}.select", select_version, select, (estimator,)),
        )
    fits, measures = f"{estimator}.fit", f"{estimator}.measure"
    scores = tuple(f"{estimator}.{name}" for name in scoring)
    return EstimatorStages(
        Stage(f"{family}.fit", fit_version, fit, (estimator,), (measures, *scores), "fit"),
        Stage(f"{family}.measure", measure_version, measure, (estimator,), (fits, *scores)),
        Stage(f"{family}.select", select_version, select, (estimator,), (fits, measures)),
    )
