"""What a set copies, against a search for every run."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelcollapse.metrics.memorisation import longest_copy

SMALL = arrays(np.int32, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.integers(0, 2))
HUGE = arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 8)), elements=st.integers(0, 2**31 - 1))


def is_in(run, block):
    return any(block[at : at + len(run)] == run for at in range(len(block) - len(run) + 1))


def longest(block, others):
    runs = [block[start:end] for start in range(len(block)) for end in range(start + 1, len(block) + 1)]
    return max((len(run) for run in runs if any(is_in(run, other) for other in others)), default=0)


@given(SMALL | HUGE, SMALL | HUGE)
def test_the_longest_copy_is_the_longest_run_that_is_found(blocks, training):
    found = [longest(block, training.tolist()) for block in blocks.tolist()]
    assert longest_copy(blocks, training) == {"mean": np.mean(found), "max": max(found)}


def test_a_set_of_copies_is_copied_whole_and_one_of_other_tokens_is_not_copied():
    training = np.random.default_rng(0).integers(0, 1000, (50, 64))
    assert longest_copy(training[7:9], training) == {"mean": 64, "max": 64}
    assert longest_copy(training + 1000, training) == {"mean": 0, "max": 0}
