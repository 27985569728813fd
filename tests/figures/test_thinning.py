"""Which generations of a long chain are shown."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelcollapse.figures.thinning import shown_generations


@given(st.integers(0, 100_000), st.integers(2, 50))
def test_the_ends_are_shown_and_never_more_than_asked_for(last, most):
    shown = shown_generations(last, most)
    assert {0, last} <= shown <= set(range(last + 1))
    assert len(shown) <= most
    assert len(shown) == last + 1 or last >= most


def test_a_short_chain_is_shown_whole_and_a_long_one_at_every_scale():
    assert shown_generations(9) == set(range(10))
    long = sorted(shown_generations(2000))
    assert len(long) > 15
    assert max(later / earlier for earlier, later in pairwise(long[1:])) <= 2
