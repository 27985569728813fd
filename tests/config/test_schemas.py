"""JSON schemas of the configuration files: current, named by every file, and strict where a person would mistype."""

import json
import subprocess
import sys

import pytest
from jsonschema import Draft7Validator
from omegaconf import OmegaConf
from referencing import Registry, Resource

from extension import install
from modelcollapse.commands.schema import CHAIN, COMMENT, schemas, text
from modelcollapse.config.extensions import configuration_folder, groups

CONF = configuration_folder()
FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
GLOBAL = "# @package _global_"


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "schemas"


def errors_of(path, values):
    """What a validator has against the values, from the schema in a file; others are found beside it."""
    files = {file.relative_to(path.parent).as_posix(): file for file in path.parent.rglob("*.json")}
    found = {name: Resource.from_contents(json.loads(file.read_text("utf-8"))) for name, file in files.items()}
    validator = Draft7Validator(found[path.name].contents, registry=Registry().with_resources(found.items()))
    return [error.message for error in validator.iter_errors(values)]


def named_schema(file):
    """The schema that a file of the configuration names."""
    lines = [line for line in file.read_text("utf-8").splitlines() if line.startswith(COMMENT)]
    assert len(lines) == 1, f"{file} must begin with its schema, as the others do: {COMMENT}..."
    return (file.parent / lines[0].removeprefix(COMMENT)).resolve()


def test_the_schemas_are_current(folder):
    made = {f"{name}.json": text(schema) for name, schema in schemas(lambda member: member.is_built_in).items()}
    there = {file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in folder.rglob("*.json")}
    assert there == made, "write them anew: python -m modelcollapse schema schemas"


@pytest.mark.parametrize("name", FILES)
def test_every_file_names_its_schema_and_goes_with_it(folder, name):
    file = CONF / name
    schema = named_schema(file)
    is_of_chains = "/" not in name or file.read_text("utf-8").startswith(GLOBAL)
    assert schema == folder / f"{CHAIN if is_of_chains else name.rpartition('/')[0]}.json"
    assert errors_of(schema, OmegaConf.to_container(OmegaConf.load(file), resolve=False)) == []


def test_schemas_are_schemas_and_no_options(folder):
    for file in folder.rglob("*.json"):
        Draft7Validator.check_schema(json.loads(file.read_text("utf-8")))
    assert "schemas" not in groups()


RIGHT = {
    "nothing at all": ("model", {}),
    "a reference and what must be given": ("model", {"name": "${seed}", "training": {"epochs": "???"}}),
    "a member with its settings": (
        "model",
        {"training": {"loss": {"name": "truncated_cross_entropy", "gamma": 0.5}, "optimizer": "sgd"}},
    ),
    "part of an experiment": (
        CHAIN,
        {
            "defaults": ["paper_gmm", {"override /data": "digits"}, "_self_"],
            "seed": 3,
            "data": {"rows": 5},
            "hydra": {"sweeper": {"params": {"data.rows": "1,2"}}},
        },
    ),
    "null": ("trainer", {"threads": None}),
    "one member in the place of a list": (CHAIN, {"logger": "csv"}),
    "lists in lists": ("data", {"kind": "gaussian_samples", "covariance": [[1, 0.5], [0.5, 1]]}),
}
WRONG = {
    "a typo": ("model", {"training": {"epocs": 3}}),
    "no such word": ("model", {"training": {"checkpoint": "best"}}),
    "no such member": ("model", {"training": {"optimizer": "adamm"}}),
    "a typo in a member's settings": (
        "model",
        {"training": {"loss": {"name": "truncated_cross_entropy", "gama": 0.5}}},
    ),
    "settings of another member": ("model", {"training": {"loss": {"name": "cross_entropy", "gamma": 0.5}}}),
    "out of range": ("decoding", {"top_p": 1.5}),
    "the excluded end of a range": ("decoding", {"top_p": 0}),
    "a word for a number": ("trainer", {"threads": "many"}),
    "a share for a whole number": ("trainer", {"devices": 1.5}),
    "null where it is not allowed": ("trainer", {"devices": None}),
    "empty text": ("paths", {"store": ""}),
    "settings of another family": ("model", {"family": "vae", "segment_length": 3}),
    "no such family": ("model", {"family": "gpt"}),
    "an item of a list": ("data", {"kind": "gaussian_samples", "covariance": [[1, "x"]]}),
    "a typo in an experiment": (CHAIN, {"generation": 3}),
    "a typo deep in an experiment": (CHAIN, {"model": {"training": {"epocs": 3}}}),
    "a value for a group": (CHAIN, {"trainer": 3}),
    "a word for a number of batches": ("trainer", {"limit_train_batches": "few"}),
    "a number too large": (CHAIN, {"seed": 10**30}),
    "a project that W&B refuses": ("tracking", {"project": "a/b"}),
    "a tag that is too long": ("tracking", {"tags": ["x" * 65]}),
    "a logger that there is not": (CHAIN, {"logger": ["csv", "mlflow"]}),
    "a rule that there is not": ("selection/rule", {"name": "best"}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_accepted(folder, name):
    schema, values = RIGHT[name]
    assert errors_of(folder / f"{schema}.json", values) == []


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_marked(folder, name):
    schema, values = WRONG[name]
    assert errors_of(folder / f"{schema}.json", values)


def test_fields_are_explained(folder):
    model = json.loads((folder / "model.json").read_text("utf-8"))
    (language_model,) = [each for each in model["anyOf"] if each["properties"]["family"]["const"] == "language_model"]
    training = language_model["properties"]["training"]
    assert training["description"] == "How each generation is fitted."
    assert training["anyOf"][0]["properties"]["learning_rate"]["description"] == "Peak learning rate."


def test_the_command_knows_what_is_installed(tmp_path):
    command = [sys.executable, "-m", "modelcollapse", "schema", "mine"]
    finished = subprocess.run(
        command, cwd=tmp_path, env=install(tmp_path / "site"), capture_output=True, text=True, timeout=120
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    regime = tmp_path / "mine" / "regime.json"
    assert errors_of(regime, {"rule": "lab_every", "k": 3, "name": "mine"}) == []
    assert errors_of(regime, {"rule": "lab_every", "j": 3})
    assert errors_of(tmp_path / "mine" / "chain.json", {"regime": {"rule": "lab_every", "k": "x"}})
