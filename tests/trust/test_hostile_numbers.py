"""Numbers of any size in any setting: a message that names the setting, and nothing is written."""

import copy
import math

import pytest
from test_bad_settings import WITH, classes_of, leaves

from conftest import composed, run_command
from modelcollapse.config.settings import ChainSettings, read_chain_settings
from modelcollapse.regimes import RegimeSettings
from modelcollapse.registry import KINDS, read_choice, registry
from modelcollapse.settings import MOST, SettingsError, allowed, identity_of
from modelcollapse.store import canonical_json

TOO_LARGE = (10**400, -(10**400), 10**5000, 1e308, -1e308, math.nan, math.inf, -math.inf)
"""Refused by every setting."""
EXTREME = (2**63 - 1, MOST, MOST + 1, 1e-300, -5e-324)
"""Refused, or read into settings that have an identity."""
LONGEST_MESSAGE = 600
CHAINS = {
    **WITH,
    "regime and trainer": ("regime=older", "trainer.threads=1", "trainer.scoring_batch_size=8", "regime.window=2"),
}


def is_numeric(hint):
    what = allowed(hint)
    return what.kind in (int, float) or (what.kind is tuple and is_numeric(what.item))


def with_number(hint, number):
    """The number, in as many lists as the annotation has."""
    what = allowed(hint)
    return [with_number(what.item, number)] if what.kind is tuple else number


def numeric_settings():
    """(chain, full name, annotation) of every numeric setting, once for each class."""
    seen = set()
    for chain in WITH:
        for group, cls in classes_of(chain).items():
            found = {(cls, name): hint for name, hint in leaves(cls, group) if is_numeric(hint)}
            yield from ((chain, name, hint) for (cls, name), hint in found.items() if (cls, name) not in seen)
            seen |= {*found}
    for name, hint in [*leaves(ChainSettings), *leaves(RegimeSettings, "regime")]:
        if is_numeric(hint):
            yield "regime and trainer", name, hint


@pytest.fixture(scope="module")
def bases():
    return {chain: composed(*overrides) for chain, overrides in CHAINS.items()}


def changed(values, name, value):
    """The values with one of them replaced; None where the group that holds it is null."""
    result = inner = copy.deepcopy(values)
    *groups, last = name.split(".")
    for group in groups:
        inner = inner[group]
        if inner is None:
            return None
    inner[last] = value
    return result


def problems_or_identity(values):
    """What is wrong with the values; where nothing is, they have an identity."""
    try:
        canonical_json(identity_of(read_chain_settings(values)))
    except SettingsError as error:
        return error.problems
    return ()


def test_every_numeric_setting_takes_or_refuses_any_number(bases):
    refused = 0
    for chain, name, hint in numeric_settings():
        for number in (*TOO_LARGE, *EXTREME):
            values = changed(bases[chain], name, with_number(hint, number))
            if values is None:
                continue
            problems = problems_or_identity(values)
            assert problems or number not in TOO_LARGE, (name, number)
            assert not problems or any(name in problem for problem in problems), (name, problems)
            assert all(len(problem) < LONGEST_MESSAGE for problem in problems), (name, problems)
            refused += bool(problems)
    assert refused > 400


def numeric_fields_of_members():
    for kind in KINDS:
        for member in registry(kind).members():
            if member.settings is not None and kind not in ("families", "data", "decodings"):
                yield from ((member, name, hint) for name, hint in leaves(member.settings) if is_numeric(hint))


def test_settings_of_chosen_members_too():
    members = list(numeric_fields_of_members())
    assert {name for _, name, _ in members} >= {"gamma", "momentum", "decay"}
    for member, name, hint in members:
        for number in TOO_LARGE:
            problems: list[str] = []
            read_choice(member, {name: with_number(hint, number)}, "chosen", problems)
            assert problems, (member, name, number)
            assert max(map(len, problems)) < LONGEST_MESSAGE


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" + "0" * 5000, "-1e308", "1e999", ".nan", "0x" + "f" * 400])
def test_a_file_with_such_a_number_is_refused(tmp_path, number):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "huge.yaml").write_text(f"# @package _global_\nseed: {number}\n", encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    answer = run_command(("--config-dir", str(tmp_path / "mine"), "experiment=huge"), work, work)
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    assert len(answer.err) < 2 * LONGEST_MESSAGE
    assert list(work.iterdir()) == []


TYPED = {
    "seed=1" + "0" * 400: "seed",
    "seed=1" + "0" * 5000: "seed",
    "decoding.temperature=1e-300": "decoding.temperature",
    "model.training.learning_rate=1e300": "model.training.learning_rate",
    "regime.latest=1e308": "regime.latest",
    "+metrics.nothing=1" + "0" * 400: "metrics.nothing",
    "data.language.topics=1" + "0" * 30: "data.language.topics",
    "decoding.kind=1" + "0" * 400: "decoding.kind",
    "model.training.loss={name: truncated_cross_entropy, gamma: 1e400}": "model.training.loss.gamma",
}


@pytest.mark.parametrize("typed", TYPED, ids=TYPED.get)
def test_typed_numbers_are_refused_with_the_setting_named(tmp_path, typed):
    answer = run_command((typed,), tmp_path, tmp_path)
    assert answer.code == 2
    assert TYPED[typed] in answer.err
    assert "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []
