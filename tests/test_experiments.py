"""Every experiment that is shipped runs, at a size of seconds."""

import json

import pytest

from code_digests.traced_stages import TracedStages
from modelcollapse.config.extensions import configuration_folder

EXPERIMENTS = sorted(path.stem for path in (configuration_folder() / "experiment").glob("*.yaml"))
OWN_OF_REGIMES = sorted(path.stem for path in (configuration_folder() / "experiment" / "with").glob("*.yaml"))
REGIMES = sorted(path.stem for path in (configuration_folder() / "regime").glob("*.yaml"))
SHIPPED = [
    *((experiment, ()) for experiment in EXPERIMENTS),
    *(
        (name, (f"regime={regime}",))
        for name in EXPERIMENTS
        for regime in REGIMES
        if f"{name}_{regime}" in OWN_OF_REGIMES
    ),
]
"""Every experiment, and beside it the regimes that it has settings for."""

TEXT = ("generations=2", "data.block_length=8", "data.train_blocks=40", "data.evaluation_blocks=20", "decoding.beams=2")
PAPER_OPT = (*TEXT, "model.pretrained={pretrained}", "data.path={wikitext}")
SMALL = (
    "model.architecture.hidden_size=16",
    "model.architecture.layers=1",
    "model.architecture.heads=2",
    "model.architecture.feedforward_size=32",
)
REDUCED = {
    "quickstart": (*SMALL, "generations=2", "data.block_length=8", "data.train_blocks=60", "model.training.epochs=1"),
    "remedies": (*SMALL, "generations=2", "data.block_length=8", "data.train_blocks=60", "model.training.epochs=1"),
    "remedies_vae": (
        "data=digits",
        "generations=2",
        "data.train_rows=60",
        "model.training.epochs=1",
        "model.classifier.epochs=1",
    ),
    "paper_opt": PAPER_OPT,
    "real_text": PAPER_OPT,
    "small_opt": (
        *TEXT,
        *SMALL,
        "data.path={wikitext}",
        "model.base.text={texts}/base.txt",
        "model.base.maximum_blocks=150",
        "model.tokenizer.vocabulary_size=300",
    ),
    "paper_gaussian": ("generations=3", "data.rows=20", "model.replicates=4"),
    "paper_gaussian_one_shot": ("data.rows=20", "model.replicates=4"),
    "paper_vae": (
        "data=digits",
        "generations=2",
        "data.train_rows=60",
        "model.training.epochs=1",
        "model.classifier.epochs=1",
    ),
    "paper_gmm": ("generations=3", "data.rows=40", "model.replicates=2"),
    "paper_discrete": ("generations=3", "data.rows=20", "model.replicates=4"),
}
"""Experiment -> overrides that reduce it; a new experiment gets a line here."""


@pytest.fixture
def wikitext(tmp_path, texts):
    """Text under WikiText's file names."""
    folder = tmp_path / "wikitext"
    folder.mkdir()
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        (folder / f"wiki.{name}.raw").write_text((texts / f"{split}.txt").read_text())
    return folder


def test_every_file_of_an_experiment_is_shipped_for_one_of_its_regimes():
    assert len(SHIPPED) == len(EXPERIMENTS) + len(OWN_OF_REGIMES)


@pytest.mark.parametrize(("experiment", "own"), SHIPPED, ids=lambda one: one if isinstance(one, str) else " ".join(one))
def test_the_experiment_runs_at_a_reduced_size(train, pretrained, texts, wikitext, experiment, own, monkeypatch):
    """And no stage runs code that its digest does not cover, or that is not listed as deciding no number."""
    traced = TracedStages(monkeypatch)
    places = {"pretrained": pretrained, "texts": texts, "wikitext": wikitext}
    overrides = [word.format(**places) for word in REDUCED[experiment]]
    finished = train(
        f"experiment={experiment}", *own, "tracking=none", "trainer.threads=1", "trainer.accelerator=cpu", *overrides
    )
    assert finished.code == 0, finished.err
    lines = finished.lines()
    assert [line["generation"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= (1 if experiment == "paper_gaussian_one_shot" else 3)
    assert traced.calls
    family = json.loads((finished.folder / "chain.json").read_text())["family"]
    assert traced.undeclared(family) == []


def test_the_papers_regimes_share_generation_0(chain, pretrained, wikitext):
    overrides = [word.format(pretrained=pretrained, wikitext=wikitext) for word in PAPER_OPT]
    keys = {
        chain("experiment=paper_opt", own, "tracking=none", *overrides, execute=False)
        .generations()[0]
        .artifacts["model"]
        .key
        for own in ("regime=replace", "regime=preserve", "decoding.repetition_penalty=2.0")
    }
    assert len(keys) == 1
