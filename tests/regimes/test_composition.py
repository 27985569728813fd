import dataclasses
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy import stats

from modelcollapse.regimes import (
    REAL,
    Draw,
    DrawError,
    GeneralSettings,
    RegimeSettings,
    Source,
    compose,
    composition_recipe,
    count_rows,
    fresh_rows,
    golden_ratio_weight,
    reserve_needed,
    reserve_rows,
    reserve_stream,
    resolve,
    rows_of,
    synthetic_rows,
)
from modelcollapse.regimes.composition import canonical
from modelcollapse.seeding import Stream

EVERY = sorted((Path(__file__).parents[2] / "conf" / "regime").glob("*.yaml"))
CONFIGURATIONS = [path for path in EVERY if path.stem != "general"]
REGIMES = {path.stem: RegimeSettings(**OmegaConf.to_container(OmegaConf.load(path))) for path in CONFIGURATIONS}
FIELDS = {field.name for field in dataclasses.fields(RegimeSettings)}

regimes = st.sampled_from(sorted(REGIMES)).map(REGIMES.get)
generations = st.integers(1, 12)
sizes_of_real_data = st.integers(20, 300)
seeds = st.integers(0, 2**40)
shares = st.integers(0, 100).map(lambda percent: percent / 100)


def regime(name, **changes):
    return dataclasses.replace(REGIMES[name], **changes)


def synthetic(generation):
    return Source("synthetic", generation)


class Sizes(dict):
    """What each source holds if every model writes just what the regime asks of it."""

    def __init__(self, settings, n):
        self.settings, self.n = settings, n

    def __missing__(self, source):
        if source.kind == "synthetic":
            return rows_of(synthetic_rows(self.settings, source.generation), self.n)
        return fresh_rows(self.settings, self.n) if source.kind == "fresh" else self.n


def training_set(settings, generation, n, seed=0):
    return resolve(compose(settings, generation, seed), Sizes(settings, n), n)


def rows_by_source(rows):
    return {part.source: len(part.indices) for part in rows}


def total(rows):
    return sum(len(part.indices) for part in rows)


def as_lists(rows):
    return [(part.source, part.indices.tolist(), part.weight) for part in rows]


def recipe(draws, settings=REGIMES["replace"]):
    # The key of a synthetic or fresh set names its rows, which sets grown_replace apart from replace.
    sizes = Sizes(settings, 100)
    return json.dumps(composition_recipe(draws, lambda source: f"{source} of {sizes[source]} rows"))


# The configurations.


def test_the_regimes_of_the_field_are_all_there():
    assert set(REGIMES) == {
        "replace",
        "preserve",
        "grown_replace",
        "accumulate",
        "accumulate_subsample",
        "augment",
        "fresh",
        "older",
        "golden_ratio",
        "real",
    }


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configurations_list_every_field_and_are_possible(path):
    values = OmegaConf.to_container(OmegaConf.load(path))
    assert set(values) == FIELDS
    assert values["name"] == path.stem
    assert RegimeSettings(**values).problems() == []
    assert all(type(values[name]) in (float, type(None)) for name in ("real", "latest", "older"))


# Table of the regimes: the rows that generation t takes from each source, n = 100.


def accumulated(t):
    return {REAL: 100} | {synthetic(writer): 100 for writer in range(t)}


PUBLISHED = {
    "replace": lambda t: {synthetic(t - 1): 100},
    "preserve": lambda t: {REAL: 10, synthetic(t - 1): 90},
    "grown_replace": lambda t: {synthetic(t - 1): 100 * t},
    "accumulate": accumulated,
    "augment": lambda t: {REAL: 100, synthetic(t - 1): 100},
    "fresh": lambda t: {Source("fresh", t): 10, synthetic(t - 1): 90},
    "golden_ratio": lambda t: {Source("fresh", t): 100, synthetic(t - 1): 100},
    "real": lambda t: {REAL: 100},
}


@pytest.mark.parametrize("t", range(1, 6))
@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_are_those_of_the_published_regime(name, t):
    rows = training_set(REGIMES[name], t, 100)
    assert rows_by_source(rows) == PUBLISHED[name](t)


@pytest.mark.parametrize("t", range(1, 6))
def test_older_takes_its_older_rows_from_the_union_of_older_sets(t):
    taken = rows_by_source(training_set(REGIMES["older"], t, 100))
    assert taken.pop(REAL) == 10
    assert taken.pop(synthetic(t - 1)) == (90 if t == 1 else 60)
    assert sum(taken.values()) == (0 if t == 1 else 30)
    assert set(taken) <= {synthetic(writer) for writer in range(t - 1)}


@pytest.mark.parametrize("t", range(1, 6))
def test_accumulate_subsample_takes_n_rows_of_what_accumulate_takes(t):
    (draw,) = compose(REGIMES["accumulate_subsample"], t, 0)
    assert set(draw.sources) == set(accumulated(t))
    assert total(training_set(REGIMES["accumulate_subsample"], t, 100)) == 100


@given(regimes, generations, sizes_of_real_data, seeds)
def test_sizes_over_generations(settings, t, n, seed):
    expected = {"grown_replace": t * n, "accumulate": (t + 1) * n, "augment": 2 * n, "golden_ratio": 2 * n}
    assert total(training_set(settings, t, n, seed)) == expected.get(settings.name, n)


@given(regimes, generations, sizes_of_real_data, seeds)
def test_rows_exist_and_none_is_drawn_twice(settings, t, n, seed):
    rows = training_set(settings, t, n, seed)
    sizes = Sizes(settings, n)
    assert len({part.source for part in rows}) == len(rows)
    for part in rows:
        assert part.indices.dtype == np.int64
        assert len(part.indices) > 0
        assert np.all(np.diff(part.indices) > 0)
        assert part.indices[0] >= 0
        assert part.indices[-1] < sizes[part.source]


@given(st.sampled_from(["replace", "grown_replace"]), generations, sizes_of_real_data, seeds)
def test_no_real_row_where_none_is_allowed(name, t, n, seed):
    assert {part.source.kind for part in training_set(REGIMES[name], t, n, seed)} == {"synthetic"}


@given(st.sampled_from(["fresh", "golden_ratio"]), generations, sizes_of_real_data)
def test_fresh_regimes_never_take_from_the_first_real_data_again(name, t, n):
    assert REAL not in rows_by_source(training_set(REGIMES[name], t, n))


@given(regimes, generations)
def test_no_generation_takes_from_what_is_not_yet_written(settings, t):
    used = {source for draw in compose(settings, t, 0) for source in draw.sources}
    assert all(source.generation < t for source in used if source.kind == "synthetic")
    assert all(source.generation == t for source in used if source.kind == "fresh")


# Shares and counts.


@given(shares, shares, generations, st.integers(1, 500), seeds)
def test_shares_that_add_up_to_one_give_n_rows(real, older, t, n, seed):
    assume(real + older <= 1)
    settings = regime("older", real=real, older=older, latest=None)
    try:
        rows = training_set(settings, t, n, seed)
    except DrawError:
        # A share of this n that comes to no row.
        assume(False)
    assert total(rows) == n
    kinds = rows_by_source(rows)
    assert kinds.get(REAL, 0) == rows_of(real, n) == math.floor(round(real * 100) * n / 100 + 0.5)
    older_rows = sum(count for source, count in kinds.items() if source not in (REAL, synthetic(t - 1)))
    assert abs(older_rows - (older * n if t > 1 else 0)) < 1


@pytest.mark.parametrize(("n", "expected"), [(37, (4, 33)), (10, (1, 9)), (5, (1, 4)), (15, (2, 13))])
def test_preserve_keeps_n_rows_and_rounds_halves_up(n, expected):
    rows = training_set(REGIMES["preserve"], 2, n)
    assert tuple(len(part.indices) for part in rows) == expected


def test_shares_are_read_as_decimals():
    assert rows_of(0.145, 100) == 15
    assert rows_of(2.5, 1) == 3
    assert compose(regime("preserve", real=0.9), 3, 0) == compose(regime("preserve", real=0.9, latest=0.1), 3, 0)


@given(regimes, st.integers(0, 12))
def test_models_write_at_least_n_rows_and_what_the_next_generation_takes(settings, t):
    written = synthetic_rows(settings, t)
    assert written == (t + 1 if settings.growth == "linear" else 1)


def test_models_write_more_where_the_latest_share_exceeds_one():
    settings = regime("augment", latest=2.5)
    assert synthetic_rows(settings, 4) == 2.5
    assert rows_by_source(training_set(settings, 4, 100)) == {REAL: 100, synthetic(3): 250}
    older = regime("older", real=0.0, latest=0.7, older=0.5)
    assert [synthetic_rows(older, t) for t in range(3)] == [1.2, 1.0, 1.0]
    assert rows_by_source(training_set(older, 1, 100)) == {synthetic(0): 120}
    assert total(training_set(older, 2, 100)) == 120


def test_what_is_all_of_a_set_is_taken_whole_whatever_the_sets_hold():
    latest = Draw((synthetic(3),))
    assert compose(REGIMES["grown_replace"], 4, 0) == (latest,)
    assert compose(regime("augment", latest=2.5), 4, 0) == (Draw((REAL,)), latest)
    assert compose(regime("augment", latest=1.0, older=0.5), 4, 0)[0] == Draw((REAL,))


def test_as_many_rows_as_are_real_out_of_one_set_that_holds_more_are_drawn():
    settings = regime("older", real=0.0, latest=0.5, older=1.0)
    older, _ = compose(settings, 2, 0)
    assert (older.sources, older.rows) == ((synthetic(0),), 1.0)
    assert older.stream is not None
    assert rows_by_source(training_set(settings, 2, 100)) == {synthetic(0): 100, synthetic(1): 50}


def test_whole_sets_beside_each_other_are_one_draw_unless_they_are_weighted():
    whole = [Draw((synthetic(number),)) for number in (1, 0, 2)]
    assert canonical(whole) == (Draw((synthetic(0), synthetic(1), synthetic(2))),)
    weighted = (Draw((synthetic(0),), weight=0.3), Draw((synthetic(1),), weight=0.7))
    assert canonical(reversed(weighted)) == weighted
    drawn = (Draw((synthetic(0),)), Draw((synthetic(1),), rows=0.5, stream=Stream(0, 2, "draw.latest")))
    assert canonical(drawn) == drawn
    assert canonical([Draw((REAL,)), *whole[:2]]) == (Draw((REAL,)), Draw((synthetic(0), synthetic(1))))


def test_windows_bound_how_far_back_rows_come_from():
    assert compose(regime("accumulate", window=1), 5, 0) == compose(REGIMES["augment"], 5, 0)
    assert rows_by_source(training_set(regime("accumulate", window=2), 5, 30)) == {
        REAL: 30,
        synthetic(3): 30,
        synthetic(4): 30,
    }
    (drawn,) = compose(regime("accumulate_subsample", window=2), 5, 0)
    assert drawn.sources == (REAL, synthetic(3), synthetic(4))
    _, older, latest = compose(regime("older", window=3), 5, 0)
    assert (older.sources, latest.sources) == ((synthetic(2), synthetic(3)), (synthetic(4),))


# One composition has one recipe.


def test_all_regimes_share_generation_0():
    assert {compose(settings, 0, seed) for settings in REGIMES.values() for seed in (0, 1)} == {(Draw((REAL,)),)}


@pytest.mark.parametrize(
    ("one", "other", "t"),
    [
        (REGIMES["accumulate"], REGIMES["augment"], 1),
        (REGIMES["replace"], REGIMES["grown_replace"], 1),
        (REGIMES["replace"], regime("preserve", real=0.0), 4),
        (REGIMES["replace"], regime("preserve", real=0.0, latest=1.0, real_source="kept"), 4),
        (REGIMES["replace"], regime("fresh", real=0.0), 4),
        (REGIMES["preserve"], regime("older", older=0.0, latest=0.9), 4),
        (REGIMES["preserve"], REGIMES["older"], 1),
        (REGIMES["augment"], regime("augment", real_source="redrawn"), 4),
        (REGIMES["real"], regime("preserve", real=1.0), 4),
        (
            regime("older", older=0.4, latest=None, real=0.0),
            regime("older", older=0.4, latest=0.6, real=0.0),
            4,
        ),
        (
            regime("older", older=1.0, latest=0.0, real=0.0),
            regime("older", older=1.0, latest=None, real=0.0),
            2,
        ),
    ],
)
def test_settings_that_mean_the_same_training_set_have_one_recipe(one, other, t):
    assert compose(one, t, 3) == compose(other, t, 3)
    assert recipe(compose(one, t, 3)) == recipe(compose(other, t, 3))


def test_settings_that_mean_different_training_sets_have_different_recipes():
    asked = [
        *((settings, t) for settings in REGIMES.values() for t in (2, 3)),
        (regime("preserve", real=0.2), 2),
        (regime("preserve", real_source="kept"), 2),
        (regime("golden_ratio", weighting="none"), 2),
        (regime("accumulate", window=1), 3),
        (regime("accumulate_subsample", window=1), 3),
    ]
    recipes = [recipe(compose(settings, t, 0), settings) for settings, t in asked]
    preserve = REGIMES["preserve"]
    recipes += [
        recipe(compose(preserve, 2, 1), preserve),
        recipe(compose(preserve, 2, 0, replicate=1), preserve),
    ]
    # The control takes H in every generation, and a window of 1 makes accumulate augment.
    assert len(set(recipes)) == len(recipes) - 2


@given(regimes, st.integers(0, 12), seeds, st.randoms())
def test_order_of_draws_and_sources_is_irrelevant(settings, t, seed, shuffler):
    draws = compose(settings, t, seed)
    shuffled = [dataclasses.replace(draw, sources=shuffler.sample(draw.sources, len(draw.sources))) for draw in draws]
    shuffler.shuffle(shuffled)
    assert recipe(shuffled) == recipe(draws)
    sizes = Sizes(settings, 40)
    assert as_lists(resolve(shuffled, sizes, 40)) == as_lists(resolve(draws, sizes, 40))


@given(regimes, st.permutations(range(6)), seeds)
def test_order_of_generations_is_irrelevant(settings, order, seed):
    out_of_order = {t: as_lists(training_set(settings, t, 30, seed)) for t in order}
    assert all(as_lists(training_set(settings, t, 30, seed)) == out_of_order[t] for t in range(6))


def test_recipes_name_sources_by_their_keys_and_random_draws_by_their_streams():
    keys = {REAL: "h", synthetic(1): "s1", synthetic(0): "s0"}
    draws = compose(REGIMES["older"], 2, 7)
    assert composition_recipe(draws, keys.get) == [
        {"sources": ["h"], "rows": 0.1, "stream": Stream(7, 2, "draw.real").recipe(), "weight": None},
        {"sources": ["s0"], "rows": 0.3, "stream": Stream(7, 2, "draw.older").recipe(), "weight": None},
        {"sources": ["s1"], "rows": 0.6, "stream": Stream(7, 2, "draw.latest").recipe(), "weight": None},
    ]
    kept = composition_recipe(compose(regime("preserve", real_source="kept"), 2, 7), keys.get)
    assert kept[0]["stream"] == Stream(7, 0, "draw.real").recipe()
    assert composition_recipe(compose(REGIMES["accumulate"], 1, 7), keys.get) == [
        {"sources": [key], "rows": None, "stream": None, "weight": None} for key in ("h", "s0")
    ]


# Randomness.

RANDOM = ["preserve", "accumulate_subsample", "older"]


@given(st.sampled_from(RANDOM), generations, seeds)
def test_same_seed_same_rows_other_seed_other_rows(name, t, seed):
    rows = as_lists(training_set(REGIMES[name], t, 200, seed))
    assert as_lists(training_set(REGIMES[name], t, 200, seed)) == rows
    assert as_lists(training_set(REGIMES[name], t, 200, seed + 1)) != rows


def real_rows(settings, t, seed=0, replicate=0, n=2000):
    parts = resolve(compose(settings, t, seed, replicate), Sizes(settings, n), n)
    return next(part.indices.tolist() for part in parts if part.source == REAL)


def test_kept_rows_stay_and_redrawn_rows_change():
    kept, redrawn = regime("preserve", real_source="kept"), regime("preserve", real_source="redrawn")
    assert len({tuple(real_rows(kept, t)) for t in range(1, 9)}) == 1
    assert len({tuple(real_rows(redrawn, t)) for t in range(1, 9)}) == 8
    assert len({tuple(real_rows(kept, 1, seed, replicate)) for seed in (0, 1) for replicate in (0, 1)}) == 4


@given(generations, st.permutations(range(1, 100)))
def test_a_smaller_share_is_part_of_a_larger_one(t, percents):
    smaller, larger = sorted(percents[:2])
    assert set(real_rows(regime("preserve", real=smaller / 100), t)) <= set(
        real_rows(regime("preserve", real=larger / 100), t)
    )


@given(st.integers(1, 20_000))
def test_rows_are_those_with_the_smallest_random_numbers(count):
    stream, n = Stream(1, 1, "draw.real"), 20_000
    (part,) = resolve([Draw((REAL,), count / n, stream)], {REAL: n}, n)
    by_number = np.argsort(stream.numpy().bit_generator.random_raw(n), kind="stable")
    assert np.array_equal(part.indices, np.sort(by_number[:count]))


def test_every_row_of_the_union_is_equally_likely():
    settings, n, t, draws = REGIMES["accumulate_subsample"], 20, 3, 4000
    hits = {source: np.zeros(n) for source in (REAL, *map(synthetic, range(t)))}
    for seed in range(draws):
        for part in training_set(settings, t, n, seed):
            hits[part.source][part.indices] += 1
    every_row = np.concatenate(list(hits.values()))
    assert every_row.sum() == draws * n
    chance = 1 / (t + 1)
    # Rows drawn without replacement: the squared deviations are chi-square after this factor.
    rows = len(every_row)
    statistic = ((every_row - draws * chance) ** 2).sum() / (draws * chance * (1 - chance)) * (rows - 1) / rows
    assert 1e-5 < stats.chi2(rows - 1).sf(statistic) < 1 - 1e-5


def test_rows_in_one_draw_are_independent_of_their_neighbours():
    pairs = np.zeros((6, 6))
    draw = Draw((REAL,), rows=0.5)
    for seed in range(4000):
        (part,) = resolve([dataclasses.replace(draw, stream=Stream(seed, 1, "draw.real"))], {REAL: 6}, 6)
        pairs[tuple(zip(*itertools.combinations(part.indices, 2), strict=True))] += 1
    together = pairs[np.triu_indices(6, 1)]
    # Each of the 15 pairs is in 4 of the 20 sets of three.
    assert np.abs(together / 4000 - 0.2).max() < 5 * math.sqrt(0.2 * 0.8 / 4000)


def test_golden_rows():
    parts = training_set(REGIMES["older"], 3, 20, seed=5)
    assert [(part.source.kind, part.source.generation, part.indices.tolist()) for part in parts] == [
        ("real", None, [5, 16]),
        ("synthetic", 0, [13, 14, 18]),
        ("synthetic", 1, [0, 11, 18]),
        ("synthetic", 2, [1, 2, 3, 7, 9, 10, 11, 13, 15, 16, 18, 19]),
    ]


# Fresh real data.


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 20), seeds)
def test_fresh_rows_are_never_seen_twice(rows, last, spare, seed):
    size = rows * last + spare
    slices = [reserve_rows(size, t, rows, reserve_stream(seed)) for t in range(1, last + 1)]
    assert all(len(part) == rows and np.all(np.diff(part) > 0) for part in slices)
    everything = np.concatenate(slices)
    assert len(set(everything)) == rows * last
    assert everything.min() >= 0
    assert everything.max() < size


def test_the_reserve_is_shuffled_by_the_seed():
    slices = [tuple(reserve_rows(100, 1, 20, reserve_stream(seed, chain))) for seed in (0, 1) for chain in (0, 1)]
    assert len({*slices, tuple(range(20))}) == 5


@given(shares, st.integers(0, 9), sizes_of_real_data)
def test_the_reserve_that_is_said_to_be_needed_is_enough_and_no_row_less_is(real, last, n):
    settings = regime("fresh", real=real)
    needed, rows = reserve_needed(settings, last, n), fresh_rows(settings, n)
    assert needed == rows * last
    for t in range(1, last + 1):
        reserve_rows(needed, t, rows, reserve_stream(0))
    if needed:
        with pytest.raises(DrawError, match=f"at least {needed} rows"):
            reserve_rows(needed - 1, last, rows, reserve_stream(0))


def test_regimes_without_fresh_rows_need_no_reserve():
    assert {name for name, settings in REGIMES.items() if reserve_needed(settings, 9, 100)} == {
        "fresh",
        "golden_ratio",
    }


def test_a_shuffle_that_would_change_with_the_generation_is_refused():
    with pytest.raises(ValueError, match="reserve_stream"):
        reserve_rows(100, 2, 10, Stream(0, 2, "draw.reserve"))
    with pytest.raises(ValueError, match="from 1 on"):
        reserve_rows(100, 0, 10, reserve_stream(0))


# Weights.


@given(
    st.sampled_from(["golden_ratio", "accumulate", "augment", "older"]),
    generations,
    sizes_of_real_data,
    shares,
)
def test_weights_have_mean_one_and_the_real_rows_their_golden_share(name, t, n, latest):
    assume(latest > 0)
    latest = 0.0 if name == "accumulate" else latest
    settings = regime(name, weighting="golden_ratio", latest=latest)
    try:
        rows = training_set(settings, t, n)
    except DrawError:
        assume(False)
    weights = np.concatenate([np.full(len(part.indices), part.weight) for part in rows])
    assert weights.mean() == pytest.approx(1)
    real = [len(part.indices) * part.weight for part in rows if part.source.kind != "synthetic"]
    shares_of = compose(settings, t, 0)
    asked = {"accumulate": t, "older": (latest + 0.3) / 0.1}.get(name, latest)
    assert sum(real) / weights.sum() == pytest.approx((math.sqrt(1 + 4 * asked) - 1) / (2 * asked))
    assert sum(draw.weight for draw in shares_of) == pytest.approx(1)


def test_the_golden_ratio():
    assert golden_ratio_weight(1.0) == pytest.approx(0.6180339887, abs=1e-10)
    real, latest = training_set(REGIMES["golden_ratio"], 3, 50)
    assert (real.weight, latest.weight) == pytest.approx((2 * 0.6180339887, 2 * 0.3819660113))


@given(st.floats(0.01, 100))
def test_the_golden_weight_solves_its_quadratic(k):
    w = golden_ratio_weight(k)
    assert 0 < w < 1
    assert k * w**2 + w == pytest.approx(1)


def test_rows_weigh_the_same_without_weighting():
    rows = [
        part for settings in REGIMES.values() if settings.weighting == "none" for part in training_set(settings, 3, 40)
    ]
    assert {part.weight for part in rows} == {1.0}


# What cannot be had.


class NeverDrawn(Stream):
    def numpy(self):
        raise AssertionError("drawn before the request was found impossible")


def test_more_rows_than_there_are_is_refused_before_anything_is_drawn():
    stream = NeverDrawn(0, 1, "draw.latest")
    draws = [Draw((REAL,), 0.5, stream), Draw((synthetic(0), synthetic(1)), 0.5, stream)]
    with pytest.raises(DrawError, match=r"5 rows .* \[synthetic 0, synthetic 1\], which hold 4"):
        resolve(draws, {REAL: 10, synthetic(0): 1, synthetic(1): 3}, 10)


def test_a_share_that_comes_to_no_row_is_refused():
    with pytest.raises(DrawError, match=r"a share of 0.01 of \[real\] comes to no row"):
        training_set(regime("preserve", real=0.01), 2, 10)
    with pytest.raises(DrawError, match=r"all of \[synthetic 1\] comes to no row"):
        resolve(compose(REGIMES["replace"], 2, 0), {synthetic(1): 0}, 10)


@pytest.mark.parametrize(("held", "message"), [(3, "which hold 3"), (5, "just 4 are asked for")])
def test_a_fresh_set_holds_just_the_rows_asked_for(held, message):
    with pytest.raises(DrawError, match=message):
        count_rows(compose(REGIMES["fresh"], 2, 0), {Source("fresh", 2): held, synthetic(1): 40}, 40)


IMPOSSIBLE = [
    ("preserve", {"real": 1.2}, ["regime.latest=null", "regime.real=1.2"]),
    ("older", {"real": 0.8, "older": 0.3, "latest": None}, ["regime.latest=null"]),
    ("augment", {"real": 1.5}, ["regime.real=1.5"]),
    ("older", {"older": 1.5}, ["regime.older=1.5"]),
    ("older", {"window": 1}, ["regime.window=1"]),
    ("real", {"real": 0.0}, ["regime.real=0"]),
    ("replace", {"latest": 0.0}, ["regime.real=0"]),
    ("accumulate", {"real": 0.1, "latest": 0.2}, ["regime.real=0.1", "regime.latest=0.2"]),
    ("accumulate_subsample", {"older": 0.3}, ["regime.older=0.3"]),
    ("accumulate", {"real_source": "fresh"}, ["regime.real_source=fresh"]),
    ("accumulate", {"growth": "linear"}, ["regime.growth=linear"]),
    ("older", {"growth": "linear"}, ["regime.older=0.3"]),
    ("real", {"growth": "linear"}, ["regime.latest=0.0"]),
    ("accumulate_subsample", {"weighting": "golden_ratio"}, ["regime.weighting=golden_ratio"]),
    ("replace", {"weighting": "golden_ratio"}, ["regime.real=0"]),
    ("real", {"weighting": "golden_ratio"}, ["regime.latest=0.0"]),
]


@pytest.mark.parametrize(("name", "changes", "settings"), IMPOSSIBLE)
def test_impossible_settings_are_named_with_their_value(name, changes, settings):
    impossible = regime(name, **changes)
    problems = impossible.problems()
    assert all(any(setting in problem for problem in problems) for setting in settings)
    with pytest.raises(ValueError, match=r"regime\."):
        compose(impossible, 1, 0)
    assert compose(impossible, 0, 0)


def test_settings_at_the_edge_of_what_is_possible_have_no_problems():
    """All of 1 taken by what is given leaves nothing to `latest`, and is no mistake."""
    for whole in (
        RegimeSettings("a", real=1.0),
        RegimeSettings("b", older=1.0),
        RegimeSettings("c", real=0.4, older=0.6),
    ):
        assert whole.problems() == []
        assert whole.latest_share == 0


@pytest.mark.parametrize("settings", [RegimeSettings("shares"), GeneralSettings("general", 0.5, 0.3, 0.2)])
def test_generations_of_one_kind_are_looked_at_once(settings):
    assert [list(settings.kinds_of_generation(last)) for last in (0, 1, 2, 3, 5000)] == [
        [],
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 3],
    ]


choices = {
    "real": st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.5]),
    "real_source": st.sampled_from(["kept", "redrawn", "fresh"]),
    "latest": st.sampled_from([None, 0.0, 0.2, 0.5, 1.0, 2.0]),
    "older": st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.5]),
    "pool": st.sampled_from(["none", "none", "all", "subsample"]),
    "window": st.sampled_from([None, 1, 2, 3]),
    "growth": st.sampled_from(["constant", "linear"]),
    "weighting": st.sampled_from(["none", "golden_ratio"]),
}


@given(st.builds(RegimeSettings, name=st.just("any"), **choices), generations, sizes_of_real_data)
def test_settings_without_problems_compose_in_every_generation(settings, t, n):
    assume(not settings.problems())
    rows = training_set(settings, t, n)
    assert np.concatenate([np.full(len(part.indices), part.weight) for part in rows]).mean() == pytest.approx(1)


def test_generations_count_from_0():
    with pytest.raises(ValueError, match="-1"):
        compose(REGIMES["replace"], -1, 0)


@pytest.mark.parametrize("wrong", [("real", 1), ("synthetic", None), ("fresh", None), ("other", 1)])
def test_no_such_source(wrong):
    with pytest.raises(ValueError, match="no such source"):
        Source(*wrong)


def test_importing_is_light():
    program = "import sys, modelcollapse.regimes; assert not {'numpy', 'torch', 'omegaconf'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@given(regimes, generations, sizes_of_real_data, st.data())
def test_weights_of_a_selection_multiply_within_a_draw_and_leave_its_share(settings, generation, n, data):
    draws, sizes = compose(settings, generation, seed=0), Sizes(settings, n)
    plain = resolve(draws, sizes, n)
    chosen = data.draw(st.sampled_from(plain)).source
    weights = np.random.default_rng(n).uniform(0.1, 3, sizes[chosen])
    weighed = resolve(draws, sizes, n, {REAL: None, chosen: weights})
    assert [(part.source, part.indices.tolist()) for part in weighed] == [
        (part.source, part.indices.tolist()) for part in plain
    ]
    total = sum(part.weights.sum() for part in weighed)
    assert total == pytest.approx(sum(part.weights.sum() for part in plain))
    for before, after in zip(plain, weighed, strict=True):
        if before.source == chosen:
            ratio = after.weights / weights[after.indices]
            assert ratio == pytest.approx(ratio[0])
        elif not any({chosen, before.source} <= {*draw.sources} for draw in draws):
            assert (after.weights == before.weights).all()
