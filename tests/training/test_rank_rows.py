"""The rows of each rank: together every row once, and on average the gradient of the whole batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shared_fits import BATCH, ROWS, STEPS, VALIDATION_ROWS, assemble

from modelcollapse.data.batches import ONLY_RANK, EpochSampler, Rank, in_order, in_order_together
from modelcollapse.data.image_batches import DrawingSampler, ImagesDataModule, NoisyImages, TrainingImages
from modelcollapse.families.vae.module import FittingModule
from modelcollapse.families.vae.network import Decoder, VariationalAutoencoder
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeTrainingSettings
from modelcollapse.seeding import Stream

SMALL = VaeArchitectureSettings(channels=2, latents=3)
HELD, DRAWN, IMAGE_BATCH = 9, 8, 5
ROUNDINGS = 160 * 2**-24
SEVERAL = pytest.mark.parametrize("world_size", [2, 3, 7])


def ranks(world_size):
    return [Rank(index, world_size) for index in range(world_size)]


@given(st.integers(0, 60), st.integers(1, 9))
def test_every_row_is_taken_once(rows, world_size):
    numbers = list(range(100, 100 + rows))
    parts = [rank.of_batch(numbers) for rank in ranks(world_size)]
    assert sorted(row for part in parts for row in part) == numbers
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [row for rank in ranks(world_size) for row in rank.of_range(rows)] == list(range(rows))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_rows_in_order_are_split_whatever_the_batches(count, size, world_size):
    rows = torch.arange(2 * count).reshape(count, 2)
    seen = [batch for rank in ranks(world_size) for batch in in_order(rows, size, rank)]
    assert torch.cat(seen).tolist() == rows.tolist()
    halves = [half for rank in ranks(world_size) for half in in_order_together((rows[:, :1], rows[:, 1:]), size, rank)]
    assert torch.cat([torch.cat(half, 1) for half in halves]).tolist() == rows.tolist()
    assert max(map(len, seen)) <= size


def gradient(module, batch):
    """Of every trained weight, one after the other; and the training loss so far."""
    module.network.zero_grad()
    module.training_step(batch).backward()
    return torch.cat([weight.grad.flatten() for weight in module.network.parameters()])


def language_model(rank):
    module, data = assemble(0.0, None, None, rank)
    return module, list(data.train_dataloader())


def vae(rank):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (HELD, 28, 28), generator=generator, dtype=torch.uint8)
    training = TrainingImages(images, torch.rand(HELD + DRAWN, generator=generator) * 2)
    order = EpochSampler(HELD + DRAWN, HELD + DRAWN - 1, IMAGE_BATCH, Stream(0, 1, "order"))
    sampler = DrawingSampler(order, HELD, SMALL.latents, Stream(0, 1, "latents"), Stream(0, 1, "noise"))
    data = ImagesDataModule(training, NoisyImages.draw(images, 3, Stream(0, 1, "scored")), sampler, 2, rank)
    settings = VaeTrainingSettings(1, None, "training_set", IMAGE_BATCH, None, "last", 1e-3, 0.0)
    with Stream(0, 1, "weights").global_rng():
        network, parent = VariationalAutoencoder(SMALL), Decoder(SMALL).requires_grad_(False)
    return FittingModule(network, settings, 1.0, parent), list(data.train_dataloader())


@SEVERAL
@pytest.mark.parametrize("family", [language_model, vae])
def test_the_average_of_the_gradients_is_that_of_the_whole_batch(family, world_size):
    """With weights, parts of unequal size, and last batches of one row."""
    module, batches = family(ONLY_RANK)
    whole = [gradient(module, batch) for batch in batches]
    parts = [family(rank) for rank in ranks(world_size)]
    for step, expected in enumerate(whole):
        average = sum(gradient(one, its_batches[step]) for one, its_batches in parts) / world_size
        assert (average - expected).abs().max() <= ROUNDINGS * expected.abs().max()
    assert min(len(batch["weights"]) for batch in batches) == 1
    # What the ranks add up in their means is added up again when those are looked at.
    values, weights = (sum(getattr(one.training_loss, name) for one, _ in parts) for name in ("mean_value", "weight"))
    assert float(values / weights) == pytest.approx(float(module.training_loss.compute()), rel=ROUNDINGS)


@SEVERAL
def test_batches_and_their_order_do_not_depend_on_the_number_of_devices(world_size):
    _, batches = language_model(ONLY_RANK)
    parts = [language_model(rank)[1] for rank in ranks(world_size)]
    assert len(batches) == STEPS
    for step, batch in enumerate(batches):
        taken = [part[step] for part in parts if part[step]["scale"] > 0]
        rows = torch.cat([part["tokens"] for part in taken]).tolist()
        assert sorted(rows) == sorted(batch["tokens"].tolist())
        assert sum(part["scale"] for part in taken) == pytest.approx(world_size)
        assert not any(part[step]["weights"].any() for part in parts if part[step]["scale"] == 0)


@SEVERAL
def test_latents_and_noise_stay_with_their_rows(world_size):
    _, batches = vae(ONLY_RANK)
    parts = [vae(rank)[1] for rank in ranks(world_size)]
    for name in ("images", "latents", "noise"):
        for step, batch in enumerate(batches):
            counted = [part[step][name] for part in parts if part[step]["weights"].any()]
            assert sorted(torch.cat(counted).tolist()) == sorted(batch[name].tolist())


def test_the_sizes_are_those_that_make_parts_unequal():
    assert ROWS % BATCH == 1
    assert VALIDATION_ROWS % 2 == 1
