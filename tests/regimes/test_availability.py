"""Rows that a regime asks for, against those that there are: at the number that is just enough, and one beside it."""

from types import SimpleNamespace

import pytest

from modelcollapse.regimes import RegimeSettings
from modelcollapse.regimes.availability import reserve_problems, row_problems, unavailable_rows

FRESH = RegimeSettings("fresh", real=0.25, real_source="fresh", latest=0.75)
REDRAWN = RegimeSettings("redrawn", real=0.25, latest=0.75)


def test_the_reserve_is_enough_with_the_rows_of_all_generations_and_not_with_one_less():
    assert unavailable_rows(FRESH, 4, 100, 100) == []
    (problem,) = unavailable_rows(FRESH, 4, 100, 99)
    assert problem.startswith("data.reserve: sets aside 99 rows; regime=fresh needs 100, for each of 4 generations 25")
    assert unavailable_rows(FRESH, 4, 100, None) == []
    assert unavailable_rows(FRESH, 0, 100, 0) == []
    assert unavailable_rows(REDRAWN, 4, 100, 0) == []


def test_a_share_that_comes_to_no_row_is_one_message_and_the_reserve_another():
    few = RegimeSettings("few", real=0.004, real_source="fresh", latest=0.996)
    (problem,) = unavailable_rows(few, 3, 100, 0)
    assert problem.startswith("regime.real: 0.004 of 100 real rows comes to no row at all")
    some = RegimeSettings("some", real=0.5, real_source="fresh", latest=0.004)
    first, second = unavailable_rows(some, 3, 100, 0)
    assert first.startswith("regime.latest: 0.004")
    assert second.startswith("data.reserve: sets aside 0 rows; regime=some needs 150")


def test_rows_that_rounding_leaves_out_are_named():
    # Alone, each share of 5 rows is half a row and rounded to one; as they add up, the second has none.
    uneven = RegimeSettings("uneven", real=0.1, latest=0.1, older=0.1)
    problems = unavailable_rows(uneven, 2, 5, None)
    assert len(problems) == 1
    assert problems[0].startswith("regime=uneven: a share of 0.1 of [")
    assert problems[0].endswith("; there are 5 real rows")
    assert unavailable_rows(uneven, 2, 10, None) == []


@pytest.mark.parametrize(("real_rows", "count"), [(None, 0), (100, 1)])
def test_rows_are_checked_where_their_number_is_known(real_rows, count):
    data = SimpleNamespace(real_rows=real_rows, reserved_rows=3)
    assert len(row_problems(FRESH, 4, data)) == count


@pytest.mark.parametrize(
    ("reserve", "regime", "count"), [(0.0, FRESH, 1), (0.5, FRESH, 0), (2.0, FRESH, 0), (0.0, REDRAWN, 0)]
)
def test_without_a_reserve_there_are_no_fresh_rows(reserve, regime, count):
    assert len(reserve_problems(reserve, regime)) == count
