"""``trainer.*`` in keys and in messages: what decides results is in the key of fits, and devices must be there."""

import pytest
import torch

from modelcollapse.store import Store

IDENTITY = (
    "trainer.accumulate_grad_batches=2",
    "trainer.max_steps=5",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=0.5",
    "trainer.overfit_batches=1",
    "trainer.check_val_every_n_epoch=2",
    "trainer.gradient_clip_algorithm=value",
)
AS_INTRODUCED = (
    "trainer.accumulate_grad_batches=1",
    "trainer.overfit_batches=0.0",
    "trainer.strategy=ddp",
    "trainer.micro_batch_size=4",
    "trainer.profiler=advanced",
    "trainer.deterministic=warn",
    "trainer.benchmark=true",
    "trainer.detect_anomaly=true",
)
VAE = ("model=vae", "data=digits", "decoding=none", "model.training.gradient_clip=1.0", "model.training.epochs=2")


def keys(declared):
    """Label -> key of all that a chain takes, inputs and instruments too."""
    generations = declared.generations()
    found = {artifact for generation in generations for artifact in generation.artifacts.values()}
    waiting = list(found)
    while waiting:
        new = set(waiting.pop().parents.values()) - found
        found |= new
        waiting += new
    return {artifact.label: artifact.key for artifact in found}


@pytest.mark.parametrize("family", ["language_model", "vae"])
def test_what_decides_results_is_in_the_key_of_fits_and_nothing_else_is(chain, tiny, family):
    base = tiny if family == "language_model" else VAE
    plain = keys(chain(*base, "generations=1", execute=False))
    assert keys(chain(*base, "generations=1", *AS_INTRODUCED, execute=False)) == plain
    for override in IDENTITY:
        other = keys(chain(*base, "generations=1", override, execute=False))
        assert other.keys() == plain.keys()
        fits = {label for label in plain if label.startswith("generation") and label.endswith("fit")}
        assert all(other[label] != plain[label] for label in fits), override
        shared = {"tokenizer", "real data", "classifier · fit"} & plain.keys()
        assert all(other[label] == plain[label] for label in shared), override


HERE = torch.cuda.device_count() or int(torch.backends.mps.is_available())


@pytest.mark.skipif(HERE, reason="the devices are there")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.accelerator=gpu", "trainer.accelerator: 'gpu' is not on this machine"),
        ("trainer.accelerator=mps", "trainer.accelerator: 'mps' is not on this machine; it must be auto, cpu or gpu"),
        ("trainer.precision=16-mixed", "trainer.precision: '16-mixed' needs a GPU, and this machine shows none"),
    ],
)
def test_a_device_that_is_not_there_stops_before_anything_is_written(train, tmp_path, override, message):
    finished = train("tracking=none", "trainer.accelerator=auto", override)
    assert finished.code == 2
    assert message in finished.err
    assert not finished.folder.exists()
    assert not list(Store(tmp_path / "store").root.glob("*/*"))


@pytest.mark.skipif(HERE, reason="the devices are there")
def test_a_finished_chain_needs_no_device(finished_chain, train):
    _, store, overrides = finished_chain
    finished = train(*overrides[:-2], "trainer.accelerator=gpu", "decoding.engine=native", store=store)
    assert finished.code == 0, finished.err
    assert "nothing was computed" in finished.out
