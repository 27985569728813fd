"""Settings of a regime, and which combinations of them are invalid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from modelcollapse.regimes.shares import exact, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.settings import EXECUTION, Range

if TYPE_CHECKING:
    from modelcollapse.regimes.composition import Draw

Share = Annotated[float, Range(low=0, high=1000)]
PartOfOne = Annotated[float, Range(low=0, high=1)]


@dataclass(frozen=True)
class GeneralSettings:
    """The general form of Shumailov et al., p_{t+1} = alpha p_theta + beta p_t + gamma p_0, of training sets D_t.

    Shares are in units of n, the number of real rows, and 1 together: every training set has n rows.
    """

    name: Annotated[str, EXECUTION]
    """Label for people and figures; part of no key."""
    alpha: PartOfOne
    """Rows of S_{t-1}, which the newest model generates."""
    beta: PartOfOne
    """Rows drawn from D_{t-1}, the training set of the generation before, and used again as they are."""
    gamma: PartOfOne
    """Rows drawn from H, anew in each generation."""

    accumulates: ClassVar[bool] = False
    fresh: ClassVar[Fraction] = Fraction(0)

    def problems(self) -> list[str]:
        """Shares that are not 1 together, as a sentence."""
        if exact(self.alpha) + exact(self.beta) + exact(self.gamma) == 1:
            return []
        return [
            f"regime.alpha={self.alpha}, regime.beta={self.beta}, regime.gamma={self.gamma}: must be 1 together, as"
            " the shares of a mixture are"
        ]

    def draws(self, generation: int, stream: Stream) -> Sequence[Draw]:
        """The draws of D_t for t = ``generation`` >= 1."""
        from modelcollapse.regimes.composition import general_draws

        return general_draws(self, generation, stream)

    def generated_rows(self, generation: int) -> Fraction:
        """Every model generates n rows."""
        return Fraction(1)

    def kinds_of_generation(self, generations: int) -> Iterable[int]:
        """The first has no other training set before it than H; all others are alike."""
        return range(1, min(generations, 3) + 1)

    def small_shares(self, generations: int, real_rows: int) -> list[str]:
        """Settings whose share of so many real rows comes to no row, a message each."""
        return _small_shares({"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}, real_rows)


@dataclass(frozen=True)
class RegimeSettings:
    """How D_t is composed for t >= 1. Shares are in units of n, the number of real rows."""

    name: Annotated[str, EXECUTION]
    """Label for people and figures; part of no key."""
    real: Share = 0.0
    """Real rows."""
    real_source: Literal["kept", "redrawn", "fresh"] = "redrawn"
    """`kept`: the same draw from H in every generation. `redrawn`: a new draw from H in each. `fresh`: rows
    never seen before.
    """
    latest: Share | None = None
    """Rows of S_{t-1}; null: what `real` and `older` leave of 1 (nothing under a pool). Above 1, each model
    writes that many.
    """
    older: Share = 0.0
    """Rows drawn from the union S_0 .. S_{t-2}. While no older set exists (t = 1) this share is taken from
    the latest instead.
    """
    pool: Literal["none", "all", "subsample"] = "none"
    """`all`: D_t is H and S_0 .. S_{t-1}, whole. `subsample`: n rows of that union, without replacement."""
    window: Annotated[int, Range(low=1)] | None = None
    """How many of the latest synthetic sets `older` and `pool` reach back to, S_{t-1} counted; null: all.
    Elsewhere without effect.
    """
    growth: Literal["constant", "linear"] = "constant"
    """`linear`: model t-1 generates, and model t trains on, t times the rows of `latest`."""
    weighting: Literal["none", "golden_ratio"] = "none"
    """`golden_ratio`: the real rows together weigh w = (sqrt(1 + 4k) - 1) / (2k) of 1, k = synthetic / real
    rows (arXiv 2502.18049).
    """

    def problems(self) -> list[str]:
        """Problems of settings that no composition satisfies, a sentence each; empty if there are none."""
        return list(self._problems)

    @cached_property
    def _problems(self) -> Sequence[str]:
        """Found once: they are asked for with each of thousands of compositions."""
        found = _share_problems(self) if self.pool == "none" else _pool_problems(self)
        if self.growth == "linear":
            found += _growth_problems(self)
        if self.weighting == "golden_ratio":
            found += _weighting_problems(self)
        return found

    @property
    def fresh(self) -> Fraction:
        """Real rows set aside for each generation, in units of n."""
        return exact(self.real) if self.pool == "none" and self.real_source == "fresh" else Fraction(0)

    @property
    def accumulates(self) -> bool:
        """Whether every generation trains on H and all synthetic sets so far, whole and unweighted."""
        return self.pool == "all" and self.window is None and self.weighting == "none"

    def draws(self, generation: int, stream: Stream) -> Sequence[Draw]:
        """The draws of D_t for t = ``generation`` >= 1."""
        from modelcollapse.regimes.composition import shared_draws

        return shared_draws(self, generation, stream)

    def generated_rows(self, generation: int) -> Fraction:
        """Rows that model ``generation`` generates, in units of n."""
        # Where sets do not grow, all after generation 0's are alike.
        alike = generation if self.growth == "linear" else min(generation, 1)
        if alike not in self._generated_rows:
            from modelcollapse.regimes.composition import shared_rows

            self._generated_rows[alike] = shared_rows(self, alike)
        return self._generated_rows[alike]

    @cached_property
    def _generated_rows(self) -> dict[int, Fraction]:
        """What was asked for: a chain asks thousands of times."""
        return {}

    def kinds_of_generation(self, generations: int) -> Iterable[int]:
        """Shares do not change within a chain: what the first three generations can be given, all can."""
        return range(1, min(generations, 3) + 1)

    def small_shares(self, generations: int, real_rows: int) -> list[str]:
        """Settings whose share of so many real rows comes to no row, a message each."""
        shares = {"real": self.real, "latest": self.latest, "older": self.older if generations > 1 else None}
        return _small_shares(shares, real_rows)

    @cached_property
    def latest_share(self) -> Fraction:
        """`latest` with null worked out, exactly: 1 - 0.9 is 0.1."""
        if self.latest is not None:
            return exact(self.latest)
        return Fraction(0) if self.pool != "none" else 1 - exact(self.real) - exact(self.older)


def _small_shares(shares: Mapping[str, float | None], real_rows: int) -> list[str]:
    return [
        f"regime.{name}: {share:g} of {real_rows} real rows comes to no row at all; it must be 0 or at least"
        f" {0.5 / real_rows:.2g}"
        for name, share in shares.items()
        if share and rows_of(share, real_rows) == 0
    ]


def _share_problems(regime: RegimeSettings) -> list[str]:
    found = []
    if regime.latest is None and regime.latest_share < 0:
        found.append(
            f"regime.latest=null is what regime.real={regime.real} and regime.older={regime.older} leave "
            "of 1: lower these to at most 1 together, or give regime.latest a number"
        )
    if regime.real > 1 and regime.real_source != "fresh":
        found.append(
            f"regime.real={regime.real}: at most 1 with regime.real_source={regime.real_source}, which draws "
            "from the n real rows without replacement; only fresh can be more"
        )
    if regime.older > 1:
        found.append(f"regime.older={regime.older}: at most 1, all that generation 2 has of older sets")
    if regime.older > 0 and regime.window == 1:
        found.append(
            f"regime.window=1: at least 2, or null for all, with regime.older={regime.older}; 1 reaches "
            "back to the latest set only"
        )
    if regime.real == regime.older == regime.latest_share == 0:
        found.append(f"regime.real=0, regime.older=0, regime.latest={regime.latest}: one must be above 0")
    return found


def _pool_problems(regime: RegimeSettings) -> list[str]:
    found = [
        f"regime.{name}={share}: must be 0 with regime.pool={regime.pool}, which takes all sets together"
        for name, share in (("real", regime.real), ("latest", regime.latest), ("older", regime.older))
        if share
    ]
    if regime.real_source == "fresh":
        found.append(
            f"regime.real_source=fresh: must be kept or redrawn with regime.pool={regime.pool}, whose real "
            "rows are H itself"
        )
    return found


def _growth_problems(regime: RegimeSettings) -> list[str]:
    if regime.pool != "none":
        return [f"regime.growth=linear: must be constant with regime.pool={regime.pool}, which grows by itself"]
    found = []
    if regime.older > 0:
        found.append(f"regime.older={regime.older}: must be 0 with regime.growth=linear")
    if regime.latest_share == 0:
        found.append(f"regime.latest={regime.latest}: what grows, so must be above 0 with regime.growth=linear")
    return found


def _weighting_problems(regime: RegimeSettings) -> list[str]:
    if regime.pool == "subsample":
        return [
            "regime.weighting=golden_ratio: must be none with regime.pool=subsample, where the number of "
            "real rows varies by chance and can be 0"
        ]
    found = []
    if regime.pool == "none" and regime.real == 0:
        found.append("regime.real=0: must be above 0 with regime.weighting=golden_ratio")
    if regime.pool == "none" and regime.older == regime.latest_share == 0:
        found.append(
            f"regime.latest={regime.latest}, regime.older={regime.older}: one must be above 0 with "
            "regime.weighting=golden_ratio"
        )
    return found
