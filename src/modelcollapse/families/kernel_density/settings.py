"""Settings of kernel density estimation, fitted again and again."""

from dataclasses import dataclass
from typing import Any, Literal

from modelcollapse.data.settings import shape_problems
from modelcollapse.families.estimators.settings import EstimatorSettings, most_candidates
from modelcollapse.regimes import Regime, rows_of, synthetic_rows
from modelcollapse.selections.settings import SelectionSettings
from modelcollapse.settings import Count, Positive

Kernel = Literal["gaussian", "tophat"]


@dataclass(frozen=True)
class KernelDensitySettings(EstimatorSettings):
    """A density that is the mean of kernels around the rows of the training set."""

    family: Literal["kernel_density"]
    """Names the family."""
    kernel: Kernel
    """``gaussian``, or ``tophat``: the ball whose radius is the bandwidth."""
    bandwidth: Positive | None
    """Standard deviation or radius of the kernel; null: Scott's rule, N^(-1 / (d + 4)) for N rows in d dimensions."""
    centres: Count | None
    """Rows that are drawn out of the training set to write around them, and so the most that a model writes; null:
    ``data.rows``."""
    test_points: Count
    """Points of the true distribution at which densities are compared, in each replicate."""


def centre_problems(model: Any, data: Any, decoding: object, regime: Regime, generations: int) -> list[str]:
    """Why the regime asks for more rows than there are centres."""
    kept = model.centres or data.rows
    asked = {0, generations, *regime.kinds_of_generation(generations)}
    wanted = max(rows_of(synthetic_rows(regime, t), data.rows) for t in asked)
    if wanted <= kept:
        return []
    return [
        f"model.centres: a model writes a row around each of {kept}, and regime={regime.name} asks for {wanted} rows;"
        f" it must be at least that (model.centres={wanted})"
    ]


def chosen_centre_problems(
    selection: SelectionSettings, model: Any, data: Any, decoding: object, regime: Regime, generations: int
) -> list[str]:
    """Why there are fewer centres than a selection has candidates."""
    kept, wanted = model.centres or data.rows, most_candidates(selection, data, regime, generations)
    if not selection.selects_synthetic or wanted <= kept:
        return []
    return [
        f"model.centres: a model writes a row around each of {kept}, and selection.oversampling="
        f"{selection.oversampling:g} asks for {wanted} candidates; it must be at least that (model.centres={wanted})"
    ]


def offers(model: Any, data: Any) -> tuple[str, ...]:
    """What a scorer can ask for; models keep rows of their training sets only, so that none knows its own density."""
    return ("true_log_likelihood",) if data.kind == "gaussian_samples" else ()


def point_problems(model: KernelDensitySettings, data: Any, decoding: object, regime: Regime) -> list[str]:
    """What is wrong with the true distribution, where it is a Gaussian."""
    return shape_problems(model, data, decoding, regime) if data.kind == "gaussian_samples" else []
