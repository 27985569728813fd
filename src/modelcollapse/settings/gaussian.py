"""Settings of the Gaussian family: how a Gaussian is estimated again and again, and the true one."""

import math
from dataclasses import dataclass
from typing import Literal

from modelcollapse.regimes import RegimeSettings
from modelcollapse.settings.segmented import Count, SegmentedSettings, Synthesis, synthesis_problems


@dataclass(frozen=True)
class GaussianSettings(SegmentedSettings):
    """A Gaussian of any dimension, fitted by its moments."""

    family: Literal["gaussian"]
    """Names the family."""
    estimator: Literal["biased", "unbiased"]
    """Covariance with 1/M (the authors' code, maximum likelihood) or 1/(M-1) (the paper's theorem)."""
    synthesis: Synthesis
    """Draw every sample, or only the sufficient statistics that a fit sees: exact in distribution, at a cost that
    does not grow with the rows."""


@dataclass(frozen=True)
class GaussianSamplesSettings:
    """Real data drawn from a known Gaussian; fresh real data are unlimited."""

    kind: Literal["gaussian_samples"]
    """Names the kind of data."""
    name: str
    """Name for people and figures; not in any key."""
    rows: Count
    """Real rows (the n of the regimes, the M of the paper)."""
    mean: tuple[float, ...]
    """The true mean; its length is the dimension."""
    covariance: tuple[tuple[float, ...], ...]
    """The true covariance, one row a dimension."""

    @property
    def real_rows(self) -> int:
        """Rows of H."""
        return self.rows

    @property
    def numbers_per_row(self) -> int:
        """The dimension."""
        return len(self.mean)

    @property
    def reserved_rows(self) -> None:
        """The distribution never ends."""


def _synthesis_problems(
    model: GaussianSettings, data: GaussianSamplesSettings, decoding: object, regime: RegimeSettings
) -> list[str]:
    return synthesis_problems(model.synthesis, regime)


def shape_problems(model: object, data: GaussianSamplesSettings, decoding: object, regime: RegimeSettings) -> list[str]:
    """Why there is no such Gaussian."""
    dimension = len(data.mean)
    if dimension == 0:
        return ["data.mean: [] is not allowed; it must have a number for every dimension"]
    if [len(row) for row in data.covariance] != [dimension] * dimension:
        shown = [list(row) for row in data.covariance]
        return [
            f"data.covariance: {shown} must have {dimension} rows of {dimension} numbers, as data.mean has {dimension}"
        ]
    if not _is_positive_definite(data.covariance):
        return [f"data.covariance: {[list(row) for row in data.covariance]} must be symmetric and positive definite"]
    return []


def singularity_problems(
    model: object, data: GaussianSamplesSettings, decoding: object, regime: RegimeSettings
) -> list[str]:
    """Why there are too few rows to estimate a covariance."""
    dimension = len(data.mean)
    if dimension == 0 or data.rows > dimension:
        return []
    return [
        f"data.rows: {data.rows} rows leave a covariance of {dimension} dimensions singular; it must be at least"
        f" {dimension + 1}"
    ]


CHECKS = (shape_problems, singularity_problems, _synthesis_problems)
"""What is wrong between settings that are each allowed; each looks at few of them."""


def _is_positive_definite(matrix: tuple[tuple[float, ...], ...]) -> bool:
    """Whether it is symmetric and has a Cholesky factor; in plain Python, since settings import nothing heavy."""
    size = len(matrix)
    if any(matrix[i][j] != matrix[j][i] for i in range(size) for j in range(i)):
        return False
    factor = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(factor[i][k] * factor[j][k] for k in range(j))
            if i == j and rest <= 0:
                return False
            factor[i][j] = math.sqrt(rest) if i == j else rest / factor[j][j]
    return True
