"""Registered callbacks in a fit: what they log, what they keep, and fits that go on after a kill."""

import math
from typing import ClassVar

import pytest
import shared_fits
import torch
from pytorch_lightning import Callback
from test_fit import EPOCHS, STEPS, Interruption, assert_same_bits, fit, interrupted_after

from modelcollapse.registry import Choice, Member, RegistrationError, registry
from modelcollapse.training.settings import WeightAveragingSettings

DECAY = 0.8
LEARNING_RATE = Choice("callbacks", "lr_monitor")
AVERAGING = Choice("callbacks", "weight_averaging", WeightAveragingSettings(DECAY))


@pytest.fixture
def registered(monkeypatch):
    """Registers a callback for the time of a test."""

    def register(implementation, **options):
        name = implementation.__name__
        member = Member("callbacks", name, implementation, options={"changes_results": False, **options})
        monkeypatch.setitem(registry("callbacks")._members, name, member)
        return Choice("callbacks", name)

    return register


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("plain"), keep_best=False)


def fit_interrupted(progress, epochs, **arguments):
    """A fit that is killed after each of these epochs, and then ends."""
    for epoch in epochs:
        with pytest.raises(Interruption):
            fit(progress, False, interrupted_after(epoch), **arguments)
    return fit(progress, False, **arguments)


def test_the_learning_rate_is_logged_into_the_epochs_lines_and_changes_nothing(tmp_path, plain):
    weights, lines = fit(tmp_path / "progress", False, callbacks=[LEARNING_RATE])
    assert_same_bits(weights, plain[0])
    assert [line.pop("lr-AdamW") for line in lines] == [line["learning_rate"] for line in lines]
    assert lines == plain[1]


class LogsNowAndThen(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1:
            pl_module.log("mine/batch", float(batch_idx), on_step=False, on_epoch=True, batch_size=1)

    def on_train_epoch_end(self, trainer, pl_module):
        self.log("step", 7.0)
        if trainer.current_epoch == 2:
            self.log("mine/broken", math.nan)


@pytest.mark.parametrize("epochs", [(), (0, 1), (2, 3)], ids=str)
def test_what_a_callback_logs_is_in_the_line_of_that_epoch_alone(tmp_path, plain, registered, epochs):
    _, lines = fit_interrupted(tmp_path / "progress", epochs, callbacks=[registered(LogsNowAndThen)])
    assert lines[1].pop("mine/batch") == (STEPS - 1) / 2
    assert lines == plain[1]


class CountsBatches(Callback):
    seen = 0

    def on_train_batch_end(self, trainer, pl_module, *arguments):
        self.seen += 1

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen += 100
        pl_module.log("seen", float(self.seen))

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


@pytest.mark.parametrize("epochs", [(), range(EPOCHS)], ids=str)
def test_a_callback_is_given_back_its_state_of_the_last_finished_epoch(tmp_path, registered, epochs):
    _, lines = fit_interrupted(tmp_path / "progress", epochs, callbacks=[registered(CountsBatches)])
    assert [line["seen"] for line in lines] == [(STEPS + 100) * (epoch + 1) for epoch in range(EPOCHS)]


class StopsAfterTwo(Callback):
    def on_validation_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == 1


@pytest.mark.parametrize("epochs", [(), (0,), (1,)], ids=str)
def test_a_fit_that_a_callback_stopped_stays_stopped(tmp_path, plain, registered, epochs):
    _, lines = fit_interrupted(tmp_path / "progress", epochs, callbacks=[registered(StopsAfterTwo)])
    assert lines == plain[1][:2]


class KeepsWeights(Callback):
    kept: ClassVar = []

    def on_train_batch_end(self, trainer, pl_module, *arguments):
        self.kept.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("averaged"), False, callbacks=[AVERAGING])


def test_averaged_weights_are_the_moving_average_over_the_steps(tmp_path, plain, averaged, registered):
    fit(tmp_path / "progress", False, callbacks=[registered(KeepsWeights)])
    expected = KeepsWeights.kept[0]
    for weights in KeepsWeights.kept[1:]:
        expected = {name: DECAY * expected[name] + (1 - DECAY) * value for name, value in weights.items()}
    for name, value in averaged[0].items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert any(not torch.equal(value, plain[0][name]) for name, value in averaged[0].items())
    # Validation is of the averages, the fit itself is as it was.
    assert [line["train/loss"] for line in averaged[1]] == [line["train/loss"] for line in plain[1]]
    assert averaged[1][0]["validation/perplexity"] != plain[1][0]["validation/perplexity"]


@pytest.mark.parametrize("epochs", [(1,), (EPOCHS - 1,), range(EPOCHS)], ids=str)
def test_interrupted_a_fit_ends_with_the_same_averages(tmp_path, averaged, epochs):
    weights, lines = fit_interrupted(tmp_path / "progress", epochs, callbacks=[AVERAGING])
    assert_same_bits(weights, averaged[0])
    assert lines == averaged[1]


def test_devices_that_share_a_fit_average_the_same_weights(tmp_path):
    alone, _ = shared_fits.fit(tmp_path / "alone", 1, callbacks=[AVERAGING])
    shared, lines = shared_fits.fit(tmp_path / "shared", 2, callbacks=[AVERAGING, LEARNING_RATE])
    for name, value in alone.items():
        # The gradient of a key's bias is zero but for rounding, which Adam makes steps of.
        assert "k_proj.bias" in name or torch.allclose(value, shared[name], atol=1e-4), name
    assert all("lr-AdamW" in line for line in lines)


def test_a_callback_must_say_whether_it_changes_results():
    with pytest.raises(RegistrationError, match="callback 'mine' does not say changes_results"):
        Member("callbacks", "mine", CountsBatches)
