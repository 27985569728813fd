"""The family of categorical distributions: its estimator, figures and tables."""

import numpy as np
import pandas as pd

from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.discrete.estimator import DiscreteEstimator
from modelcollapse.families.discrete.presentation import DISCRETE
from modelcollapse.families.discrete.stages import STAGES
from modelcollapse.families.discrete.theory import discrete_expectations
from modelcollapse.families.estimators.estimator import State
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily


class DiscreteFamily(EstimatorFamily):
    """Shumailov et al. (2024), the discrete distributions of the theory."""

    name = "discrete"
    stages = STAGES
    headline = DISCRETE.headline
    knows_populations = True

    def build_estimator(self) -> DiscreteEstimator:
        """The estimator of the model and data settings."""
        return DiscreteEstimator(self.model, self.data)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """What is left in every generation, and where the replicates ended, against the closed forms."""
        from modelcollapse.families.discrete import figures

        last = int(chain.generations[-1])
        theory = discrete_expectations(self.plan(chain), self.data, self.population)
        table = chain.table(self.expected(theory))
        replicates = _ends(chain.state(last))
        absorbed = replicates["end_state"][replicates["single_since"] >= 0]
        ends = pd.DataFrame(
            {
                "state": np.arange(1, len(self.data.probabilities) + 1),
                "probability": self.data.probabilities,
                "replicates": np.bincount(absorbed, minlength=len(self.data.probabilities) + 1)[1:],
            }
        )
        text = self.figure_text(title)
        drawn = {
            "loss_of_states": figures.loss_of_states(table, text),
            "end_states": figures.end_states(ends, text),
        }
        return ChainReport({"discrete": table, "replicates": replicates, "end_states": ends}, {}, drawn)


def _ends(state: State) -> pd.DataFrame:
    """For each replicate its most probable state, counted from 1, and since when it has no other (-1: it has)."""
    probabilities, since = state["probabilities"].numpy(), state["single_since"].numpy()
    columns = {"end_state": probabilities.argmax(axis=1) + 1, "single_since": since}
    return pd.DataFrame({"replicate": np.arange(len(since)), **columns})
