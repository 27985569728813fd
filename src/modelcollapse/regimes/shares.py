"""Shares of n rows, exactly."""

import math
from fractions import Fraction
from functools import cache, lru_cache


@lru_cache(maxsize=4096)
def rows_of(share: float, n: int) -> int:
    """`share` times n in whole rows, halves up. A share is the decimal it reads as: 0.145 of 100 is 15."""
    return whole(exact(share) * n)


@cache
def exact(share: float) -> Fraction:
    """The decimal that a share is written as, so that 1 - 0.9 is 0.1 and 0.1 + 0.2 is 0.3."""
    return Fraction(repr(float(share)))


def whole(rows: Fraction) -> int:
    """The nearest number of rows, halves up."""
    return math.floor(rows + Fraction(1, 2))
