"""Everything that conf/ offers composes, reads, and lists exactly the settings that there are."""

import dataclasses
import types
import typing

import pytest

from conftest import run_command
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import MEMBER_GROUPS, ChainSettings, read_chain_settings
from modelcollapse.families.language_model import settings
from modelcollapse.regimes.settings import RegimeSettings
from modelcollapse.registry import registry
from modelcollapse.settings import SettingsError
from modelcollapse.training.settings import TrainerSettings

CONF = configuration_folder()
OPTIONS = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name not in ("experiment", "hydra")
)
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))

TEXT = ("data.train=a.txt", "data.validation=b.txt", "data.test=c.txt")
GIVEN = {
    ("model", "opt_small"): ("data=text_files", "model.base.text=base.txt", *TEXT),
    ("model", "opt_125m"): ("data=wikitext2",),
    ("model", "pretrained"): ("data=wikitext2", "model.pretrained=weights"),
    ("data", "text_files"): ("model=opt_125m", *TEXT),
    ("data", "hub"): ("model=opt_125m", "data.path=someone/something"),
    ("data", "wikitext2"): ("model=opt_125m",),
    ("regime", "grown_replace"): ("decoding=sample",),
    ("model", "gaussian"): ("data=gaussian_samples", "decoding=none"),
    ("data", "gaussian_samples"): ("model=gaussian", "decoding=none"),
    ("model", "gaussian_mixture"): ("data=gaussian_samples", "decoding=none"),
    ("model", "discrete"): ("data=categorical_samples", "decoding=none"),
    ("data", "categorical_samples"): ("model=discrete", "decoding=none"),
    ("model", "linear_regression"): ("data=linear_samples", "decoding=none"),
    ("data", "linear_samples"): ("model=linear_regression", "decoding=none"),
    ("model", "logistic_regression"): ("data=logistic_samples", "decoding=none"),
    ("data", "logistic_samples"): ("model=logistic_regression", "decoding=none"),
    ("model", "kernel_density"): ("data=shapes", "decoding=none"),
    ("data", "shapes"): ("model=kernel_density", "decoding=none"),
    ("selection", "threshold"): ("selection.rule.at_least=-50", "decoding=sample"),
    ("selection", "verifier"): ("selection.rule.at_least=-50", "decoding=sample"),
    ("editing", "label_resampling"): (
        *("model=linear_regression", "data=linear_samples", "decoding=none"),
        "model.synthesis=samples",
    ),
    ("model", "vae"): ("data=digits", "decoding=none"),
    ("data", "mnist"): ("model=vae", "decoding=none"),
    ("data", "digits"): ("model=vae", "decoding=none"),
    ("decoding", "none"): ("model=gaussian", "data=gaussian_samples"),
}
"""What an option needs beside it: the ??? of its file, and what goes with it."""
EXPERIMENT_GIVEN = {"small_opt": ("model.base.text=base.txt",), "real_text": ("model.pretrained=weights",)}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_reads_without_problems(compose_values, group, option):
    settings = read_chain_settings(compose_values(f"{group}={option}", *GIVEN.get((group, option), ())))
    if group == "regime":
        assert settings.regime.name == option


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_reads_without_problems(compose_values, experiment):
    settings = read_chain_settings(compose_values(f"experiment={experiment}", *EXPERIMENT_GIVEN.get(experiment, ())))
    assert settings.name == experiment


def _group(hint):
    """The dataclass that an annotation names, or None."""
    candidates = (hint, *typing.get_args(hint)) if _is_union(hint) else (hint,)
    return next((item for item in candidates if dataclasses.is_dataclass(item)), None)


def _is_union(hint):
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _assert_lists_all_fields(cls, values, place):
    names = {field.name for field in dataclasses.fields(cls)}
    assert set(values) == names, place
    hints = typing.get_type_hints(cls, include_extras=True)
    for name in names:
        inner = _group(hints[name])
        if inner is not None and values[name] is not None:
            _assert_lists_all_fields(inner, values[name], f"{place}.{name}")


@pytest.mark.parametrize(
    "overrides",
    [(f"{group}={option}", *GIVEN.get((group, option), ())) for group, option in OPTIONS]
    + [(f"experiment={name}", *EXPERIMENT_GIVEN.get(name, ())) for name in EXPERIMENTS],
    ids=lambda overrides: overrides[0],
)
def test_the_files_list_exactly_the_settings_that_there_are(compose_values, overrides):
    values = compose_values(*overrides)
    assert set(values) == {field.name for field in dataclasses.fields(ChainSettings)}
    hints = typing.get_type_hints(ChainSettings, include_extras=True)
    chosen = {group: registry(kind)[values[group][word]] for group, (kind, word) in MEMBER_GROUPS.items()}
    classes = {**hints, **{group: member.settings for group, member in chosen.items()}}
    for name, value in values.items():
        if dataclasses.is_dataclass(classes[name]):
            _assert_lists_all_fields(classes[name], value, name)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (("experiment=paper_opt",), {"regime": "replace", "epochs": 5, "penalty": 1.0}),
        (("experiment=paper_opt", "regime=preserve"), {"regime": "preserve", "epochs": 10, "penalty": 1.0}),
        (
            ("experiment=paper_opt", "decoding.repetition_penalty=2.0"),
            {"regime": "replace", "epochs": 5, "penalty": 2.0},
        ),
    ],
)
def test_the_papers_experiments_hold_the_papers_values(compose_values, overrides, wanted):
    settings = read_chain_settings(compose_values(*overrides))
    training, decoding = settings.model.training, settings.decoding
    assert settings.generations == 9
    assert settings.model.pretrained == "facebook/opt-125m"
    assert settings.data.path == "Salesforce/wikitext"
    assert settings.data.configuration == "wikitext-2-raw-v1"
    assert settings.data.block_length == 64
    assert settings.regime.name == wanted["regime"]
    assert settings.regime.real == (0.1 if wanted["regime"] == "preserve" else 0)
    assert training.epochs == wanted["epochs"]
    assert training.generation0_epochs == 5
    assert (training.learning_rate, training.final_learning_rate) == (2e-5, 1e-6)
    assert (training.batch_size, training.weight_decay, training.warmup_steps) == (128, 0.01, 0)
    assert (training.schedule.name, training.checkpoint) == ("cosine_per_epoch", "best_val")
    assert training.gradient_clip is None
    assert settings.model.init == "pretrained"
    assert (decoding.kind, decoding.beams, decoding.new_tokens) == ("beam", 5, 64)
    assert decoding.prompt_tokens is None
    assert decoding.prompts == "real"
    assert decoding.repetition_penalty == wanted["penalty"]


TEXT_WORDS = ("model=opt_small", "model.base.text=base.txt", "data=text_files", *TEXT)
IMPOSSIBLE = {
    "pretrained and base": (
        (*TEXT_WORDS, "model.pretrained=x", "model.architecture=null"),
        "model.pretrained, model.base: both are set",
    ),
    "init=pretrained without weights": (("model.init=pretrained",), "model.init: 'pretrained' needs"),
    "no architecture and no weights": (("model.architecture=null",), "model.architecture: is null"),
    "architecture beside weights": (
        ("model.pretrained=x", "model.init=pretrained"),
        "model.architecture: must be null with model.pretrained",
    ),
    "init=fresh beside weights": (
        ("model=opt_125m", "data=wikitext2", "model.init=fresh"),
        "model.init: 'fresh' ignores model.pretrained",
    ),
    "width no multiple of heads": (
        ("model.architecture.hidden_size=18",),
        "model.architecture.hidden_size: 18 is not a multiple of model.architecture.heads=4",
    ),
    "learning rate that rises": (
        ("model.training.final_learning_rate=1",),
        "model.training.final_learning_rate: 1 must be at most model.training.learning_rate",
    ),
    "learning rate of the base that rises": (
        (*TEXT_WORDS, "model.base.training.final_learning_rate=1"),
        "model.base.training.final_learning_rate: 1 must be at most model.base.training.learning_rate",
    ),
    "words on text": (("data=text_files", *TEXT), "model.tokenizer.kind: 'words' does not go with"),
    "byte pairs on the language": (
        ("model=opt_small", "model.base.text=b.txt"),
        "model.tokenizer.kind: 'byte_pairs' does not go with data.kind=language",
    ),
    "byte pairs without a base": (
        ("model=opt_small", "data=text_files", *TEXT, "model.base=null", "model.init=fresh"),
        "model.tokenizer.kind: 'byte_pairs' is trained on the base's text",
    ),
    "byte pairs without a number": (
        (*TEXT_WORDS, "model.tokenizer.vocabulary_size=null"),
        "model.tokenizer.vocabulary_size: is null",
    ),
    "pretrained tokenizer from nowhere": (
        (*TEXT_WORDS, "model.tokenizer.kind=pretrained"),
        "model.tokenizer.path: is null",
    ),
    "new tokens unlike a block": (
        ("decoding.new_tokens=31",),
        "decoding.new_tokens: 31 must equal data.block_length=32",
    ),
    "prompt longer than a block": (
        ("decoding.prompt_tokens=33",),
        "decoding.prompt_tokens: 33 must be at most data.block_length=32",
    ),
    "too few positions": (
        ("model.architecture.positions=63", "decoding.prompt_tokens=null"),
        "model.architecture.positions: 63 is too short for prompt and continuation together, 64 tokens",
    ),
    "beam search that would repeat itself": (
        ("regime=grown_replace", "decoding=beam"),
        "decoding.kind: 'beam' would write the same block again",
    ),
    "nothing fresh to be had": (
        ("model=opt_125m", "data=wikitext2", "regime=fresh"),
        "data.reserve: 0 leaves no real data that was never seen before",
    ),
    "shares above one": (("regime=older", "regime.latest=null", "regime.real=0.9"), "regime.latest=null"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_combination_is_refused_with_the_settings_named(compose_values, name):
    overrides, beginning = IMPOSSIBLE[name]
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    assert any(problem.startswith(beginning) for problem in caught.value.problems), caught.value.problems


def test_a_base_does_not_go_with_words(compose_values):
    values = compose_values(*TEXT_WORDS)
    base = values["model"]["base"]
    values = compose_values()
    values["model"]["base"] = base
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(values)
    assert [problem for problem in caught.value.problems if problem.startswith("model.base: a base is")]


def test_several_impossible_combinations_are_reported_together(compose_values):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(
            compose_values("decoding=beam", "decoding.new_tokens=31", "regime=grown_replace", "model.init=pretrained")
        )
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("word", "beginning"),
    [
        ("model.family=language_modl", "model.family: 'language_modl' is not allowed (did you mean language_model?)"),
        ("data.kind=langage", "data.kind: 'langage' is not allowed (did you mean language?)"),
        ("decoding.repetition_penalty=-1", "decoding.repetition_penalty: -1 is not allowed"),
        ("decoding.repetition_penalty=0.5", "decoding.repetition_penalty: 0.5 is not allowed"),
        ("decoding.top_p=0", "decoding.top_p: 0 is not allowed"),
        ("decoding.top_p=1.5", "decoding.top_p: 1.5 is not allowed"),
        ("decoding.temperature=0", "decoding.temperature: 0 is not allowed"),
        ("decoding.top_k=-1", "decoding.top_k: -1 is not allowed"),
        ("decoding.beams=0", "decoding.beams: 0 is not allowed"),
        ("decoding.no_repeat_ngram=-1", "decoding.no_repeat_ngram: -1 is not allowed"),
        ("decoding.length_penalty=nan", "decoding.length_penalty: nan is not allowed"),
        ("model.training.learning_rate=nan", "model.training.learning_rate: nan is not allowed"),
        ("model.training.epochs=0", "model.training.epochs: 0 is not allowed"),
        ("model.training.epochs=true", "model.training.epochs: True is not allowed"),
        ("model.architecture.dropout=1", "model.architecture.dropout: 1 is not allowed"),
        ("seed=-1", "seed: -1 is not allowed"),
        ("seed=true", "seed: True is not allowed"),
        ("generations=2.5", "generations: 2.5 is not allowed"),
        ("trainer.precision=8", "trainer.precision: 8 is not allowed"),
        ("store.keep=some", "store.keep: 'some' is not allowed"),
    ],
)
def test_a_wrong_setting_is_reported(compose_values, word, beginning):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(word))
    assert [problem for problem in caught.value.problems if problem.startswith(beginning)], caught.value.problems


def test_fields_are_described():
    """Each setting has its line of meaning under it, as documentation."""
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(settings))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings"):
            for before, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(before, ast.AnnAssign):
                    is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert is_text, f"{node.name}.{before.target.id}"


# ---- callbacks ------------------------------------------------------------------------------------------------------


def test_callbacks_are_chosen_by_name(compose_values):
    overrides = ("callbacks=[lr_monitor,{name:weight_averaging,decay:0.9}]", "model.training.checkpoint=last")
    monitor, averaging = read_chain_settings(compose_values(*overrides)).callbacks
    assert (monitor.name, averaging.name, averaging.settings.decay) == ("lr_monitor", "weight_averaging", 0.9)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("callbacks=[weight_averaging]",), "choose model.training.checkpoint=last"),
        (("callbacks=[lr_monitor,lr_monitor]",), "callbacks: lr_monitor is named 2 times"),
        (
            ("callbacks=[lr_monitor]", "model=gaussian", "data=gaussian_samples", "decoding=none"),
            "callbacks: are of no use to model.family=gaussian, which takes no steps; it must be []",
        ),
        (("callbacks=[lr_moniter]",), "callbacks[0]: 'lr_moniter' is no callback (did you mean lr_monitor?)"),
        (("logger=[tensorbord]",), "logger[0]: 'tensorbord' is no logger"),
    ],
    ids=str,
)
def test_callbacks_that_do_not_go_with_a_chain_are_refused(compose_values, overrides, problem):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*overrides))
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


# ---- files that name what differs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", ["train", "sweep"])
def test_files_of_regimes_and_trainers_need_only_what_differs(tmp_path, configuration):
    for group, text in {"regime": "name: half\nreal: 0.5\n", "trainer": "threads: 1\n"}.items():
        (tmp_path / "mine" / group).mkdir(parents=True)
        (tmp_path / "mine" / group / "mine.yaml").write_text(text)
    words = [
        "--config-dir",
        str(tmp_path / "mine"),
        "regime=mine",
        "trainer=mine",
        "plan=true",
        "tracking=none",
        "seed=0",
    ]
    chain = ["experiment=paper_gaussian", "generations=1", "data.rows=20", "model.synthesis=samples"]
    accepted = run_command([*chain, *words, "regime.real_source=kept"], tmp_path, tmp_path, configuration)
    assert accepted.code == 0, accepted.err
    refused = run_command([*chain, *words, "regime.rael=0.3"], tmp_path, tmp_path, configuration)
    assert "regime.rael: no such setting (did you mean real?)" in refused.err


def test_the_settings_by_default_are_those_of_the_option_that_completes_files(compose_values):
    values = compose_values("regime=replace")
    assert values["regime"] == dataclasses.asdict(RegimeSettings("replace"))
    assert values["trainer"] == dataclasses.asdict(TrainerSettings())
