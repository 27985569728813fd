import itertools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelcollapse.seeding import Stream

streams = st.builds(
    Stream,
    seed=st.integers(),
    generation=st.integers(),
    stage=st.text(),
    replicate=st.integers(),
    index=st.integers(),
)


@given(streams, streams)
def test_entropy_differs_exactly_when_the_name_does(one, other):
    assert (one.entropy == other.entropy) == (one == other)


def test_close_names_do_not_collide():
    numbers = [-1, 0, 1, 2, 12, 2**32, 2**64]
    stages = ["", "1", "a", "a,1", 'a","b', "a ", "A", "é", "e\u0301", "a\x00"]
    names = [
        Stream(seed, generation, stage, replicate, index)
        for seed, generation, replicate, index in itertools.product(numbers, repeat=4)
        for stage in stages[: 2 + (seed == generation == replicate == index) * len(stages)]
    ]
    assert len({stream.entropy for stream in names}) == len(names)
    assert len({stream.torch_seed() for stream in names}) == len(names)


def test_trailing_zeros_which_seed_sequences_ignore_count():
    assert np.random.SeedSequence([3, 2, 1]).generate_state(1) == np.random.SeedSequence([3, 2, 1, 0]).generate_state(1)
    bits = {Stream(3, 2, "fit", 1, index).numpy().bit_generator.random_raw() for index in (0, 1)}
    bits |= {Stream(3, 2, "fit", 0, index).numpy().bit_generator.random_raw() for index in (0, 1)}
    assert len(bits) == 4


def test_integers_of_numpy_and_python_name_the_same_stream():
    stream = Stream(np.int64(7), np.uint8(3), "fit", index=np.int32(1))
    assert stream == Stream(7, 3, "fit", index=1)
    assert stream.entropy == Stream(7, 3, "fit", index=1).entropy
    json.dumps(stream.recipe())


@pytest.mark.parametrize("wrong", [{"seed": 1.0}, {"seed": "1"}, {"generation": None}, {"stage": 3}])
def test_what_is_no_integer_or_no_stage_is_refused(wrong):
    with pytest.raises(TypeError):
        Stream(**{"seed": 1, "generation": 2, "stage": "fit"} | wrong)


def test_golden_values():
    stream = Stream(seed=3, generation=2, stage="fit", replicate=1, index=4)
    assert stream.recipe() == {
        "version": 1,
        "seed": 3,
        "replicate": 1,
        "generation": 2,
        "stage": "fit",
        "index": 4,
    }
    assert stream.entropy == 265990446043356527151814478679030105086
    assert stream.torch_seed() == 7209685486514887346
    assert stream.numpy().bit_generator.random_raw(2).tolist() == [5793145846377302743, 9279727810740513041]
    assert torch.randint(2**31, (3,), generator=stream.torch()).tolist() == [
        1756916627,
        2120832429,
        1472287210,
    ]


def test_at_names_another_stream_of_the_same_stage():
    stream = Stream(3, 2, "fit", 1)
    assert stream.at(5) == Stream(3, 2, "fit", 1, 5)
    assert stream.at(5).at(0) == stream


def test_another_process_draws_the_same_and_importing_is_light():
    program = """
import sys
from modelcollapse.seeding import Stream
assert not {"numpy", "torch"} & set(sys.modules)
stream = Stream(-3, 2, "fit")
import random, torch, numpy
with stream.global_rng():
    print(stream.entropy, stream.numpy().random(), torch.rand(3, generator=stream.torch()).tolist(),
          random.random(), numpy.random.random(), torch.rand(2).tolist())
"""
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    stream = Stream(-3, 2, "fit")
    with stream.global_rng():
        here = [stream.entropy, stream.numpy().random(), torch.rand(3, generator=stream.torch()).tolist()]
        here += [random.random(), np.random.random(), torch.rand(2).tolist()]
    assert there.split() == " ".join(map(str, here)).split()


def mersenne_twister_of_numpy(stream):
    bits = np.random.MT19937(np.random.SeedSequence(stream.entropy))
    state = bits.state
    # PyTorch makes a block of outputs before it hands one out; NumPy would first hand out the last word.
    state["state"]["pos"] = 624
    bits.state = state
    return bits


@given(streams)
def test_torch_generator_runs_the_mersenne_twister_seeded_with_the_full_entropy(stream):
    # random_ over int32 takes one 32-bit output a number.
    drawn = torch.empty(2000, dtype=torch.int32).random_(generator=stream.torch())
    expected = mersenne_twister_of_numpy(stream).random_raw(2000) % 2**31
    assert np.array_equal(drawn.numpy(), expected)


def test_plain_torch_seeds_of_the_cpu_use_32_bits_as_documented_and_the_generator_more():
    low, high = (torch.Generator().manual_seed(seed) for seed in (5, 5 + 2**32))
    assert torch.equal(torch.rand(9, generator=low), torch.rand(9, generator=high))
    stream, twin = Stream(0, 0, "fit"), Stream(0, 0, "fit")
    object.__setattr__(twin, "entropy", stream.entropy ^ (1 << 100))
    assert stream.torch_seed() % 2**32 == twin.torch_seed() % 2**32
    assert not torch.equal(torch.rand(9, generator=stream.torch()), torch.rand(9, generator=twin.torch()))


def test_torch_generator_starts_from_the_beginning_each_time_and_resumes_from_its_state():
    stream = Stream(1, 1, "fit")
    generator = stream.torch()
    assert generator.initial_seed() == stream.torch_seed()
    first = torch.randn(5, generator=generator)
    state = generator.get_state()
    rest = torch.randn(1001, generator=generator)
    assert torch.equal(torch.randn(5, generator=stream.torch()), first)
    assert torch.equal(torch.randn(1001, generator=torch.Generator().set_state(state)), rest)


def test_torch_uniforms_are_uniform():
    generator = Stream(2, 0, "fit").torch()
    cells = torch.histc(torch.rand(100_000, generator=generator), 100, 0, 1)
    # Chi-square with 99 degrees of freedom: 45 .. 180 in all but one of a million.
    assert 45 < ((cells - 1000) ** 2 / 1000).sum() < 180


def global_draws():
    drop = torch.nn.functional.dropout(torch.ones(16), 0.5)
    return [random.random(), np.random.random(), np.random.normal(), *torch.randn(3).tolist(), *drop.tolist()]


def test_global_rng_seeds_all_generators():
    with Stream(1, 1, "fit").global_rng():
        first = global_draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    np.random.normal()
    with Stream(1, 1, "fit").global_rng():
        assert global_draws() == first
    with Stream(1, 2, "fit").global_rng():
        others = global_draws()
    assert all(one != other for one, other in zip(first[:6], others[:6], strict=True))


def test_global_rng_draws_what_the_generator_draws():
    stream = Stream(1, 1, "fit")
    with stream.global_rng():
        assert torch.equal(torch.rand(700), torch.rand(700, generator=stream.torch()))


def draw_and_fail():
    with Stream(1, 1, "fit").global_rng():
        global_draws()
        with Stream(2, 1, "fit").global_rng():
            global_draws()
        raise KeyError


def test_global_rng_restores_the_states_that_were():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    # One normal number of a pair: the other half is part of the state.
    np.random.normal(), random.gauss(0, 1), torch.randn(1)
    states = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    with pytest.raises(KeyError):
        draw_and_fail()
    assert random.getstate() == states[0]
    np.testing.assert_equal(np.random.get_state(legacy=False), states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_nested_global_rng_returns_to_the_outer_stream():
    stream = Stream(1, 1, "fit")
    with stream.global_rng():
        plain = global_draws() + global_draws()
    with stream.global_rng():
        interrupted = global_draws()
        with stream.at(1).global_rng():
            global_draws()
        assert interrupted + global_draws() == plain


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    stream = Stream(1, 1, "fit")
    torch.cuda.manual_seed_all(0)
    torch.rand(1, device="cuda")
    before = torch.cuda.get_rng_state()
    with stream.global_rng():
        first = torch.rand(9, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(first, torch.rand(9, device="cuda", generator=stream.torch("cuda")))
    high = torch.Generator("cuda").manual_seed(5 + 2**32)
    low = torch.Generator("cuda").manual_seed(5)
    assert not torch.equal(torch.rand(9, device="cuda", generator=low), torch.rand(9, device="cuda", generator=high))
