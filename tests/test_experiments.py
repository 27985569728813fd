"""Every experiment that is shipped runs, at a size of seconds."""

import pytest

from modelcollapse.command import configuration_folder

EXPERIMENTS = sorted(path.stem for path in (configuration_folder() / "experiment").glob("*.yaml"))

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
    "paper_opt": PAPER_OPT,
    "paper_opt_replace": PAPER_OPT,
    "paper_opt_preserve": PAPER_OPT,
    "paper_opt_penalty": PAPER_OPT,
    "small_opt": (
        *TEXT,
        *SMALL,
        "data.path={wikitext}",
        "model.base.text={texts}/base.txt",
        "model.base.maximum_blocks=150",
        "model.tokenizer.vocabulary_size=300",
    ),
    "paper_gaussian": ("generations=3", "data.rows=20", "model.replicates=4"),
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
"""Experiment -> words that reduce it; a new experiment gets a line here."""


@pytest.fixture
def wikitext(tmp_path, texts):
    """Text under WikiText's file names."""
    folder = tmp_path / "wikitext"
    folder.mkdir()
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        (folder / f"wiki.{name}.raw").write_text((texts / f"{split}.txt").read_text())
    return folder


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_experiment_runs_at_a_reduced_size(train, pretrained, texts, wikitext, experiment):
    places = {"pretrained": pretrained, "texts": texts, "wikitext": wikitext}
    words = [word.format(**places) for word in REDUCED[experiment]]
    finished = train(
        f"experiment={experiment}", "tracking=none", "trainer.threads=1", "trainer.accelerator=cpu", *words
    )
    assert finished.code == 0, finished.err
    lines = finished.lines()
    assert [line["generation"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= 3


def test_the_papers_regimes_share_generation_0(chain, pretrained, wikitext):
    words = [word.format(pretrained=pretrained, wikitext=wikitext) for word in PAPER_OPT]
    keys = {
        chain(f"experiment={name}", "tracking=none", *words, execute=False).generations()[0].pieces["model"].key
        for name in ("paper_opt_replace", "paper_opt_preserve", "paper_opt_penalty")
    }
    assert len(keys) == 1
