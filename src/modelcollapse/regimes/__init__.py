"""Regimes: what generation t trains on.

Notation: H is the real training set, n its number of rows, S_t the synthetic set that model t generates, D_t what
model t trains on. D_0 is H in every regime; D_t for t >= 1 is composed of draws from H, from fresh real rows,
from D_{t-1} and from S_0 .. S_{t-1}. The regimes of the field are settings of this one family (`conf/regime/`).

A composition is canonical and knows no regime's name: whatever composes the same training set has the same
recipe, hence the same key in the store. `preserve` with no real share is `replace`, `accumulate` and
`augment` share generation 1, all regimes share generation 0. Importing this module does not import NumPy.
"""

from modelcollapse.regimes.composition import (
    REAL,
    Draw,
    Regime,
    Source,
    canonical,
    compose,
    composition_recipe,
    compositions_digest,
    golden_ratio_weight,
    synthetic_rows,
    with_history,
)
from modelcollapse.regimes.reserve import fresh_rows, held_rows, reserve_needed, reserve_rows, reserve_stream
from modelcollapse.regimes.rows import DrawError, Rows, count_rows, resolve
from modelcollapse.regimes.settings import GeneralSettings, RegimeSettings
from modelcollapse.regimes.shares import rows_of

__all__ = [
    "REAL",
    "Draw",
    "DrawError",
    "GeneralSettings",
    "Regime",
    "RegimeSettings",
    "Rows",
    "Source",
    "canonical",
    "compose",
    "composition_recipe",
    "compositions_digest",
    "count_rows",
    "fresh_rows",
    "golden_ratio_weight",
    "held_rows",
    "reserve_needed",
    "reserve_rows",
    "reserve_stream",
    "resolve",
    "rows_of",
    "synthetic_rows",
    "with_history",
]
