"""Wrong configurations: one message that names the setting, the value and what is allowed; nothing is left behind.

Hundreds are generated from the settings classes themselves: for every setting of every family, values of a wrong type,
out of range, or no word that is known. A sample of them runs every time, all of them with ``-m soak``.
"""

import dataclasses
import os
import resource
import subprocess
import sys
import typing
from typing import NamedTuple

import pytest

from conftest import members_of, run_command
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import MEMBER_GROUPS, ChainSettings
from modelcollapse.regimes import RegimeSettings
from modelcollapse.registry import Registered, registry
from modelcollapse.settings import Characters, Range, allowed, describe, field_types
from modelcollapse.training.settings import Batches

TEXT = ("data.train=a.txt", "data.validation=b.txt", "data.test=c.txt")
WITH = {
    "language_model": ("experiment=quickstart",),
    "language model on text": ("model=opt_small", "model.base.text=base.txt", "data=text_files", *TEXT),
    "pretrained language model": ("model=opt_125m", "data=wikitext2", "decoding=beam"),
    "vae": ("model=vae", "data=digits", "decoding=none"),
    "vae on images": ("model=vae", "data=mnist", "decoding=none"),
    "gaussian": ("model=gaussian", "data=gaussian_samples", "decoding=none"),
    "gaussian_mixture": ("model=gaussian_mixture", "data=gaussian_samples", "decoding=none"),
    "discrete": ("model=discrete", "data=categorical_samples", "decoding=none"),
    "linear_regression": ("model=linear_regression", "data=linear_samples", "decoding=none"),
    "logistic_regression": ("model=logistic_regression", "data=logistic_samples", "decoding=none"),
    "kernel_density": ("model=kernel_density", "data=shapes", "decoding=none"),
}
"""Words of chains that between them have every setting."""
CHOSEN = {
    "language_model": ("language_model", "language", "sample"),
    "language model on text": ("language_model", "text_files", "sample"),
    "pretrained language model": ("language_model", "hub", "beam"),
    "vae": ("vae", "digits", "none"),
    "vae on images": ("vae", "images", "none"),
    "gaussian": ("gaussian", "gaussian_samples", "none"),
    "gaussian_mixture": ("gaussian_mixture", "gaussian_samples", "none"),
    "discrete": ("discrete", "categorical_samples", "none"),
    "linear_regression": ("linear_regression", "linear_samples", "none"),
    "logistic_regression": ("logistic_regression", "logistic_samples", "none"),
    "kernel_density": ("kernel_density", "shapes", "none"),
}
NAMES_OF_CLASSES = ("family", "kind")
"""Settings that say which class their group is read by."""


class Case(NamedTuple):
    """A wrong configuration."""

    overrides: tuple[str, ...]
    setting: str
    shown: str
    """The value as the message shows it."""
    allowed: str


GROUPS = {path.name for path in configuration_folder().iterdir() if path.is_dir()}
"""What is chosen by the name of a file, as in ``merge=average``: another name is Hydra's to refuse."""


def leaves(cls, path=""):
    """Full name -> annotation of every single setting in a class, but for those that are chosen by a group."""
    hints = field_types(cls)
    for field in dataclasses.fields(cls):
        name = f"{path}.{field.name}" if path else field.name
        kind = allowed(hints[field.name]).kind
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from leaves(kind, name)
        elif kind is not typing.Any and name not in GROUPS:
            yield name, hints[field.name]


def wrong_values(hint):
    """Values that the annotation does not allow: (as typed, as shown)."""
    what = allowed(hint)
    if not what.optional:
        yield "null", "None"
    if isinstance(what.kind, Batches):
        yield from (("many", "'many'"), ("-1", "-1"), ("1.5", "1.5"), ("true", "True"), ("[1]", "[1]"), ("nan", "nan"))
        return
    if isinstance(what.kind, Registered):
        yield from (("3", "3"), ("[a]", "['a']"))
        return
    if what.range is not None:
        yield from _outside(what.kind, what.range)
    if what.characters is not None:
        yield from _unfit(what.characters)
    if what.kind is typing.Literal:
        yield from (("nonsense", "'nonsense'"), ("3", "3"), ("[a]", "['a']"))
    elif what.kind is int:
        yield from (("many", "'many'"), ("1.5", "1.5"), ("true", "True"), ("[1]", "[1]"), ("nan", "nan"))
    elif what.kind is float:
        yield from (("much", "'much'"), ("true", "True"), ("nan", "nan"), ("inf", "inf"), ("[1.0]", "[1.0]"))
    elif what.kind is bool:
        yield from (("3", "3"), ("maybe", "'maybe'"))
    elif what.kind is tuple:
        # In the place of a list of members the name of a single one may stand.
        is_of_members = isinstance(allowed(what.item).kind, Registered)
        yield from (("3", "3"),) if is_of_members else (("word", "'word'"), ("3", "3"))
    else:
        yield from (("3", "3"), ("[a]", "['a']"), ("''", "''"))


def _outside(kind, limits: Range):
    step = 1 if kind is int else 0.5
    if limits.low is not None:
        yield str(kind(limits.low) - step), str(kind(limits.low) - step)
    if limits.above is not None:
        yield str(kind(limits.above)), str(kind(limits.above))
    if limits.high is not None:
        yield str(kind(limits.high) + step), str(kind(limits.high) + step)


def _unfit(limits: Characters):
    long = "x" * (limits.most + 1)
    yield long, f"'{long[:50]}"
    yield from ((f"'a{character}b'", f"'a{character}b'") for character in limits.without if character != "\\")


def classes_of(chain):
    """Group -> settings class, as the chain's overrides choose them."""
    chosen = zip(MEMBER_GROUPS.items(), CHOSEN[chain], strict=True)
    return {group: registry(kind)[name].settings for (group, (kind, _)), name in chosen}


def generated():
    """Every wrong value of every setting, each setting of a class once."""
    seen = set()
    for name, hint in [*leaves(ChainSettings), *leaves(RegimeSettings, "regime")]:
        yield from _cases((), name, hint)
    for chain, overrides in WITH.items():
        for group, cls in classes_of(chain).items():
            for name, hint in leaves(cls, group):
                if (cls, name) not in seen and not name.endswith(NAMES_OF_CLASSES) and _is_there(chain, name):
                    yield from _cases(overrides, name, hint)
            seen |= {(cls, name) for name, _ in leaves(cls, group) if _is_there(chain, name)}


def _is_there(chain, name):
    """Whether the group that holds the setting is not null in the chain."""
    return not (
        (name.startswith("model.base") and chain != "language model on text")
        or (name.startswith("model.architecture") and chain == "pretrained language model")
    )


def _cases(overrides, name, hint):
    told = describe(hint).removesuffix(", or null")
    for typed, shown in wrong_values(hint):
        yield Case((*overrides, f"{name}={typed}"), name, shown, told)


# Tests are collected when other modules of tests have registered members of their own.
with members_of(__name__):
    SINGLE = list(generated())


IMPOSSIBLE = {
    "images for a text model": (("data=digits",), ["data.kind: 'digits'", "choose data=language"]),
    "text for an image model": ((*WITH["vae"], "data=language"), ["data.kind: 'language'", "choose data=mnist"]),
    "samples for a text model": (("data=gaussian_samples",), ["data.kind: 'gaussian_samples'", "choose data=language"]),
    "decoding for a gaussian": ((*WITH["gaussian"], "decoding=beam"), ["decoding.kind: 'beam'", "decoding=none"]),
    "an unknown family": (
        ("model.family=gpt",),
        ["model.family: 'gpt'", "one of discrete, gaussian, gaussian_mixture, kernel_density, language_model"],
    ),
    "unknown kinds and more": (
        ("data.kind=langage", "decoding.kind=beem", "seed=x", "trainer.precision=8"),
        [
            "data.kind: 'langage' is not allowed (did you mean language?)",
            "decoding.kind: 'beem'",
            "seed: 'x'",
            "trainer.precision: 8",
        ],
    ),
    "a foreign group and more": (
        ("data=digits", "model.training.epochs=0", "data.validation_rows=0"),
        ["data.kind: 'digits'", "model.training.epochs: 0", "data.validation_rows: 0"],
    ),
    "a block longer than the positions": (
        ("data.block_length=200",),
        ["model.architecture.positions: 128 is too short", "208 tokens"],
    ),
    "a wrong setting beside a wrong combination": (
        ("model.training.epochs=0", "decoding.new_tokens=31", "model.architecture.hidden_size=18"),
        ["model.training.epochs: 0", "decoding.new_tokens: 31", "model.architecture.hidden_size: 18"],
    ),
    "a preserve share above 1": (("regime=preserve", "regime.real=1.5"), ["regime.real=1.5", "at most 1"]),
    "shares above 1 together": (
        ("regime=older", "regime.latest=null", "regime.real=0.9"),
        ["regime.latest=null", "regime.real=0.9", "at most 1 together"],
    ),
    "nothing to train on": (("regime.latest=0",), ["regime.latest=0", "one must be above 0"]),
    "a share of no row": (
        ("regime=preserve", "regime.real=0.0001"),
        ["regime.real: 0.0001 of 2000 real rows", "at least 0.00025"],
    ),
    "more fresh images than set aside": (
        (*WITH["vae"], "regime=fresh", "data.reserve=0.01", "generations=9"),
        ["data.reserve: sets aside 13 rows", "needs 1152", "9 generations"],
    ),
    "no fresh text set aside": ((*WITH["language model on text"], "regime=fresh"), ["data.reserve: 0", "above 0"]),
    "more digits than there are": (
        (*WITH["vae"], "data.train_rows=1700"),
        ["data.train_rows, data.validation_rows, data.test_rows: 1700, 200, 300", "1797 digits"],
    ),
    "fewer rows than dimensions": (
        (*WITH["gaussian"], "data.rows=2", "data.mean=[0,0]", "data.covariance=[[1,0],[0,1]]"),
        ["data.rows: 2", "at least 3"],
    ),
    "no covariance": (
        (*WITH["gaussian"], "data.covariance=[[-1]]"),
        ["data.covariance: [[-1.0]]", "positive definite"],
    ),
    "covariance of another dimension": (
        (*WITH["gaussian"], "data.mean=[0,0]"),
        ["data.covariance: [[1.0]]", "2 rows of 2 numbers"],
    ),
    "more components than rows": (
        (*WITH["gaussian_mixture"], "data.rows=5", "model.components=6"),
        ["model.components: 6", "at most data.rows=5"],
    ),
    "statistics under a regime that draws": (
        (*WITH["gaussian"], "regime=preserve"),
        ["model.synthesis: 'statistics'", "must be samples"],
    ),
    "a GPU for a Gaussian": (
        (*WITH["gaussian"], "trainer.accelerator=gpu"),
        ["trainer.accelerator: 'gpu'", "auto or cpu"],
    ),
    "several devices for a Gaussian": (
        (*WITH["gaussian"], "trainer.devices=2"),
        ["trainer.devices: 2", "model.family=gaussian", "it must be 1"],
    ),
    "more devices than rows": (
        ("trainer.devices=3", "model.training.batch_size=2"),
        ["trainer.devices: 3", "model.training.batch_size=2", "at most that"],
    ),
    "more devices than a base's rows": (
        (*WITH["language model on text"], "trainer.devices=3", "model.base.training.batch_size=2"),
        ["trainer.devices: 3", "model.base.training.batch_size=2", "at most that"],
    ),
    "several devices of a kind that has one": (
        (*WITH["vae"], "trainer.devices=2", "trainer.accelerator=mps"),
        ["trainer.devices: 2", "trainer.accelerator=mps", "it must be 1"],
    ),
    "half precision on a CPU": (
        ("trainer.accelerator=cpu", "trainer.precision=16-mixed"),
        ["trainer.precision: '16-mixed'", "32-true or bf16-mixed"],
    ),
    "streamed images of many generations": (
        (*WITH["vae"], "regime=accumulate"),
        ["model.synthesis: 'stream'", "must be fixed"],
    ),
    "more neighbours than samples": (
        (*WITH["vae"], "model.evaluation.neighbours=300"),
        ["model.evaluation.neighbours: 300", "less than the 300 images"],
    ),
    "what must be given": (("data=text_files", "model=opt_small"), ["data.train: must be given", "model.base.text:"]),
    "what must be given and what is wrong": (
        ("data=text_files", "model=opt_small", "seed=-1"),
        ["data.train: must be given", "seed: -1"],
    ),
    "an environment variable that is not set": (
        ("name=${oc.env:SURELY_NOT_SET}",),
        ["name: '${oc.env:SURELY_NOT_SET}' is not allowed", "no environment variable but MODELCOLLAPSE_STORE"],
    ),
    "a reference to nothing": (("seed=${nothing}",), ["seed: ${nothing} leads nowhere", "a whole number"]),
    "a group that is no group": (("model.training=3",), ["model.training: 3 is not a group of settings"]),
    "a setting taken away": (("~seed",), ["seed: is missing", "a whole number"]),
    "a group taken away": (("~trainer",), ["trainer: is missing", "a group of settings"]),
    "no model": (
        ("~model",),
        ["model.family: None", "one of discrete, gaussian, gaussian_mixture, kernel_density, language_model"],
    ),
    "a misspelt setting": (("model.training.epocs=3",), ["model.training.epocs: no such setting", "epochs"]),
    "a setting beside all others": (("+model.training.speed=3",), ["model.training.speed: no such setting", "epochs"]),
    "a misspelt group": (("regim=replace",), ["regim: no such setting", "regime"]),
    "a misspelt option": (("regime=replase",), ["regime=replase", "did you mean replace?", "golden_ratio"]),
    "a group that is a number": (("trainer=3",), ["trainer=3"]),
    "a group that is null": (("trainer=null",), ["trainer=null"]),
    "two options at once": (("regime=replace,preserve",), ["regime=replace,preserve", "--multirun"]),
    "no value": (("seed",), ["'seed'", "SETTING=VALUE"]),
    "no name": (("=3",), ["=3"]),
    "half a value": (("model.training.epochs={",), ["{"]),
    "a wrong list": (("decoding.shown_texts=[1]",), ["decoding.shown_texts[0]: 1", "text"]),
    "no folder of settings": (("--config-dir=nowhere",), ["nowhere"]),
    "no such settings": (("--config-name=nothing",), ["nothing"]),
}


def run(overrides, folder):
    return run_command(overrides, folder, folder)


def check_case(case, folder):
    answer = run(case.overrides, folder)
    assert answer.code == 2, (case, answer)
    beginning = f"{case.setting}: {case.shown} is not allowed"
    lines = [line.strip() for line in answer.err.splitlines()]
    (line,) = [line for line in lines if line.startswith(f"{case.setting}: ")] or [None]
    if case.setting.count("[") or line is None:
        pytest.fail(f"{case}: {answer.err}")
    assert line.startswith(beginning) or case.shown in line, (case, line)
    assert case.allowed in line, (case, line)
    assert "Traceback" not in answer.out + answer.err
    assert list(folder.iterdir()) == [], case


def test_there_are_hundreds():
    assert len(SINGLE) + len(IMPOSSIBLE) >= 300
    assert len({case.overrides for case in SINGLE}) == len(SINGLE)


@pytest.mark.parametrize("case", SINGLE[::29], ids=lambda case: case.overrides[-1])
def test_a_wrong_value_is_reported(tmp_path, case):
    check_case(case, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("case", SINGLE, ids=lambda case: " ".join(case.overrides))
def test_every_wrong_value_is_reported(tmp_path, case):
    check_case(case, tmp_path)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_invalid_combinations_are_reported(tmp_path, name):
    overrides, expected = IMPOSSIBLE[name]
    answer = run(overrides, tmp_path)
    assert answer.code not in (0, None)
    for text in expected:
        assert text in answer.err, answer.err
    assert "Traceback" not in answer.out + answer.err
    assert list(tmp_path.iterdir()) == []


SECONDS = 2.0
PROGRAM = [name for number, name in enumerate(IMPOSSIBLE) if number % 5 == 0]


@pytest.mark.parametrize("name", PROGRAM)
def test_the_program_reports_it_at_once(repository, tmp_path, name):
    """Processor seconds: those that people wait on a machine that does nothing else."""
    overrides, expected = IMPOSSIBLE[name]
    typed = [sys.executable, str(repository / "train.py"), *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.returncode not in (0, None)
    for text in expected:
        assert text in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    assert list(tmp_path.iterdir()) == []
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS
