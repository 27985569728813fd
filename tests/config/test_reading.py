"""Reading plain values into settings: all problems at once, in words that help."""

import dataclasses
import math
import operator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from conftest import read
from modelcollapse.registry import Choice, Registered
from modelcollapse.settings import UNKNOWN, Range, SettingsError, UseOfUnknownError, nearest


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(low=0, high=1)]
    rate: Annotated[float, Range(above=0)]


@dataclasses.dataclass(frozen=True)
class Outer:
    count: Annotated[int, Range(low=1)]
    number: float
    flag: bool
    word: Literal["alpha", "beta"]
    text: str
    maybe: Annotated[int, Range(low=1)] | None
    inner: Inner
    optional: Inner | None
    words: tuple[str, ...]
    place: Path = Path("here")


GOOD = {
    "count": 1,
    "number": 2.5,
    "flag": True,
    "word": "alpha",
    "text": "x",
    "maybe": None,
    "inner": {"share": 0, "rate": 1e-9},
    "optional": None,
    "words": ["a", "b"],
}


def problems(**changed):
    with pytest.raises(SettingsError) as caught:
        read(Outer, {**GOOD, **changed})
    return caught.value.problems


def test_good_values_are_read_with_their_types():
    settings = read(Outer, {**GOOD, "place": "there", "optional": {"share": 1, "rate": 2}})
    assert settings == Outer(
        1, 2.5, True, "alpha", "x", None, Inner(0.0, 1e-9), Inner(1.0, 2.0), ("a", "b"), Path("there")
    )
    assert type(settings.inner.share) is float
    assert type(settings.optional.rate) is float
    assert read(Outer, GOOD).place == Path("here")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(Outer, GOOD).count = 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", True),
        ("count", 1.0),
        ("count", "1"),
        ("count", None),
        ("count", 0),
        ("number", False),
        ("number", math.nan),
        ("number", math.inf),
        ("number", "fast"),
        ("number", None),
        ("flag", 1),
        ("flag", "true"),
        ("flag", None),
        ("word", "gamma"),
        ("word", ["alpha"]),
        ("text", ""),
        ("text", 3),
        ("text", None),
        ("maybe", 0),
        ("maybe", "none"),
        ("words", "a"),
        ("words", [1]),
        ("words", None),
        ("place", 3),
        ("inner", 3),
        ("inner", None),
        ("optional", 3),
    ],
)
def test_a_wrong_value_is_one_problem_that_names_setting_and_value(field, value):
    (problem,) = problems(**{field: value})
    assert problem.startswith(field)
    shown = value[0] if field == "words" and isinstance(value, list) else value
    assert repr(shown) in problem


@pytest.mark.parametrize(
    ("share", "rate"), [(-0.001, 1), (1.001, 1), (math.nan, 1), (0.5, 0), (0.5, -1), (0.5, math.nan)]
)
def test_a_number_outside_its_range_is_refused(share, rate):
    (problem,) = problems(inner={"share": share, "rate": rate})
    assert problem.startswith("inner.")


@pytest.mark.parametrize(("share", "rate"), [(0, 5e-324), (1, 1e300), (0.5, 1)])
def test_the_ends_of_a_range_belong_to_it_but_for_an_excluded_one(share, rate):
    assert read(Outer, {**GOOD, "inner": {"share": share, "rate": rate}}).inner == Inner(share, rate)


def test_a_problem_says_what_is_allowed():
    assert "a number, at least 0 and at most 1" in problems(inner={"share": 2, "rate": 1})[0]
    assert "a number, above 0" in problems(inner={"share": 1, "rate": 0})[0]
    assert "a whole number, at least 1, or null" in problems(maybe=0)[0]
    assert "true or false" in problems(flag="yes")[0]
    assert "one of alpha, beta" in problems(word="x")[0]


def test_all_problems_are_reported_at_once():
    values = {**GOOD, "count": 0, "word": "alpa", "colour": 1, "inner": {"share": 2, "rat": 1}}
    del values["text"]
    with pytest.raises(SettingsError) as caught:
        read(Outer, values)
    starts = {problem.split(":")[0] for problem in caught.value.problems}
    assert starts == {"count", "word", "colour", "text", "inner.share", "inner.rat", "inner.rate"}
    assert len(caught.value.problems) == 7
    assert str(caught.value) == "\n".join(caught.value.problems)


def test_the_nearest_word_is_offered():
    assert "(did you mean beta?)" in problems(word="betta")[0]
    assert "(did you mean count?)" in problems(cuont=3)[0]
    assert "there are: count, flag" in problems(cuont=3)[0]
    assert "did you mean" not in problems(word="zzz")[0]


def test_nothing_near_is_nothing_offered():
    assert nearest("entirely different", ["seed"]) == ""


def test_what_is_no_mapping_is_one_problem():
    with pytest.raises(SettingsError, match="is not a group of settings"):
        read(Outer, [1, 2])


ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, pow, divmod)
LOGIC = (operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift, operator.matmul)
COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
OF_ONE = (
    *(operator.neg, operator.pos, operator.abs, operator.invert, operator.index, operator.truth, operator.not_),
    *(int, float, complex, str, repr, bool, hash, len, list, sum, max, sorted, round, math.floor, math.ceil, math.sqrt),
    *(reversed, iter, range, operator.itemgetter(0), operator.attrgetter("rows"), operator.call, "{:g}".format),
)


def name_of(operation):
    return getattr(operation, "__name__", str(operation))


@pytest.mark.parametrize("operation", [*ARITHMETIC, *LOGIC, *COMPARISONS], ids=name_of)
def test_whatever_is_computed_with_a_wrong_setting_is_unknown(operation):
    for pair in ((UNKNOWN, 3), (3, UNKNOWN), (UNKNOWN, 0.5), (0.5, UNKNOWN), (UNKNOWN, UNKNOWN)):
        with pytest.raises(UseOfUnknownError):
            operation(*pair)


@pytest.mark.parametrize("operation", OF_ONE, ids=name_of)
def test_a_wrong_setting_cannot_be_used(operation):
    with pytest.raises(UseOfUnknownError):
        operation(UNKNOWN)
    with pytest.raises(UseOfUnknownError):
        _ = 3 in UNKNOWN


# ---- members that are chosen by name ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Chosen:
    loss: Annotated[Any, Registered("losses")]
    others: tuple[Annotated[Any, Registered("losses")], ...] = ()
    maybe: Annotated[Any, Registered("losses")] | None = None


def test_a_member_is_chosen_by_its_name_or_with_its_settings():
    from modelcollapse.families.language_model.settings import TruncatedCrossEntropySettings as Truncated

    truncated = {"name": "truncated_cross_entropy", "gamma": 1}
    assert read(Chosen, {"loss": "cross_entropy"}).loss == Choice("losses", "cross_entropy")
    assert read(Chosen, {"loss": {"name": "cross_entropy"}}).loss == Choice("losses", "cross_entropy")
    chosen = read(Chosen, {"loss": "truncated_cross_entropy", "others": ["cross_entropy", truncated], "maybe": None})
    assert chosen.loss == Choice("losses", "truncated_cross_entropy", Truncated())
    assert chosen.others == (Choice("losses", "cross_entropy"), Choice("losses", truncated["name"], Truncated(1.0)))
    assert read(Chosen, {"loss": truncated, "maybe": truncated}).maybe == read(Chosen, {"loss": truncated}).loss


def test_all_that_is_wrong_with_chosen_members_is_reported_at_once():
    values = {
        "loss": {"name": "truncated_cross_entropy", "gamma": 0, "gama": 1},
        "others": ["cros_entropy", {"name": "cross_entropy", "gamma": 1}, 3, {"gamma": 1}],
        "maybe": {"name": "truncated_cross_entropy", "gamma": "???"},
    }
    with pytest.raises(SettingsError) as caught:
        read(Chosen, values)
    allowed = "it must be one of cross_entropy, focal, truncated_cross_entropy, or {name: ..., and its settings}"
    assert caught.value.problems == (
        "loss.gama: no such setting (did you mean gamma?); there are: gamma",
        "loss.gamma: 0 is not allowed; it must be a number, above 0 and at most 1",
        "others[0]: 'cros_entropy' is no loss (did you mean cross_entropy?); there are: cross_entropy, focal,"
        " truncated_cross_entropy",
        "others[1].gamma: no such setting; loss cross_entropy has none",
        f"others[2]: 3 is not allowed; {allowed}",
        f"others[3]: {{'gamma': 1}} is not allowed; {allowed}",
        "maybe.gamma: must be given (maybe.gamma=...)",
    )
