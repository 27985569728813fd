"""A tiny chain of each family, by the words that are typed for it."""

from conftest import EXECUTION, TINY

GAUSSIAN = (
    *EXECUTION,
    "decoding=none",
    "data=gaussian_samples",
    "data.rows=20",
    "data.mean=[0,1]",
    "data.covariance=[[1,0.5],[0.5,2]]",
    "model.replicates=4",
    "model.segment_length=2",
    "generations=4",
)
CHAINS = {
    "language_model": (*TINY, "generations=1"),
    "vae": (
        *EXECUTION,
        "model=vae",
        "data=digits",
        "decoding=none",
        "generations=1",
        "data.train_rows=60",
        "data.validation_rows=12",
        "data.test_rows=12",
        "model.synthesis=fixed",
        "model.architecture.channels=2",
        "model.architecture.latents=3",
        "model.training.epochs=1",
        "model.training.batch_size=16",
        "model.classifier.epochs=1",
        "model.evaluation.samples=12",
        "model.evaluation.latent_samples=10",
        "model.evaluation.shown=4",
    ),
    "gaussian_mixture": (*GAUSSIAN, "model=gaussian_mixture"),
    "gaussian": (*GAUSSIAN, "model=gaussian"),
}
"""Family -> words of its chain; each takes a second or two."""


def recorded(folder):
    """The files of a run folder that equal values make equal to the byte."""
    names = ("generations.jsonl", "training.jsonl", "histograms.jsonl", "samples.jsonl", "provenance.jsonl")
    tables = sorted(path.name for path in folder.iterdir() if path.suffix in (".parquet", ".md"))
    return {name: (folder / name).read_bytes() for name in (*names, *tables)}
