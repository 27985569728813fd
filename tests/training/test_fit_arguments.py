"""Lightning's arguments in fits: their meaning, fits that go on after a kill, and batches computed in parts."""

import math

import pytest
import shared_fits
import torch
from pytorch_lightning import Callback
from shared_fits import training
from test_fit import BATCH, EPOCHS, ROWS, STEPS, Interruption, assert_same_bits, fit, interrupted_after
from test_rank_rows import ROUNDINGS, language_model, vae

from modelcollapse.data.batches import ONLY_RANK
from modelcollapse.errors import FitFailed
from modelcollapse.families.language_model.module import FittingModule
from modelcollapse.registry import Choice, Member, registry
from modelcollapse.training.fit import training_rows
from modelcollapse.training.settings import NO_ARGUMENTS, EarlyStoppingSettings, FitArguments

VALUE = FitArguments(gradient_clip_algorithm="value")
EVERY = ("epoch", "step", "train/loss", "validation/perplexity", "learning_rate")


def fit_twice(folder, keep_best, arguments, after, **more):
    """The weights and lines of a fit, which are the same where it is interrupted after some epoch."""
    whole = fit(folder / "whole", keep_best, arguments=arguments, **more)
    with pytest.raises(Interruption):
        fit(folder / "interrupted", keep_best, interrupted_after(after), arguments=arguments, **more)
    weights, lines = fit(folder / "interrupted", keep_best, arguments=arguments, **more)
    assert_same_bits(weights, whole[0])
    assert lines == whole[1]
    return whole


def test_accumulated_batches_make_one_step_and_the_last_of_an_epoch_is_of_what_is_left(tmp_path):
    _, lines = fit_twice(tmp_path, False, FitArguments(accumulate_grad_batches=2), after=1)
    assert [line["step"] for line in lines] == [3 * (epoch + 1) for epoch in range(EPOCHS)]
    # The schedule is one of steps: it has fallen all the way.
    assert lines[-1]["learning_rate"] == pytest.approx(1e-4)


def test_the_gradients_of_accumulated_batches_are_averaged(tmp_path, monkeypatch):
    """With rates so small that the weights stay, a step over two batches is the mean of two steps over one."""
    seen = []
    stepped = FittingModule.on_before_optimizer_step

    def noted(self, optimizer):
        seen.append([weight.grad.clone() for weight in self.parameters()])
        stepped(self, optimizer)

    monkeypatch.setattr(FittingModule, "on_before_optimizer_step", noted)
    settings = training(gradient_clip=None, learning_rate=1e-12, final_learning_rate=0.0)
    for number in (1, 2):
        fit(
            tmp_path / str(number),
            False,
            settings=settings,
            dropout=0.0,
            arguments=FitArguments(accumulate_grad_batches=number),
        )
    alone, together = seen[: STEPS * EPOCHS], seen[STEPS * EPOCHS :]
    for first, second, both in zip(alone[0], alone[1], together[0], strict=True):
        assert torch.allclose((first + second) / 2, both, atol=1e-6)


def test_steps_are_limited_in_the_middle_of_an_epoch_which_is_validated(tmp_path):
    _, lines = fit_twice(tmp_path, True, FitArguments(max_steps=STEPS + 2), after=0)
    assert [line["step"] for line in lines] == [STEPS, STEPS + 2]
    assert all(set(line) == set(EVERY) for line in lines)


def test_batches_are_limited(tmp_path):
    arguments = FitArguments(limit_train_batches=2, limit_val_batches=1)
    _, lines = fit_twice(tmp_path, True, arguments, after=2)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    _, other = fit(tmp_path / "other", True, arguments=FitArguments(limit_train_batches=2))
    assert other[0]["train/loss"] == lines[0]["train/loss"]
    assert other[0]["validation/perplexity"] != lines[0]["validation/perplexity"]


@pytest.mark.parametrize(
    ("limit", "rows"), [(None, ROWS), (1.0, ROWS), (1, BATCH), (0.5, 2 * BATCH), (0.01, BATCH), (9, ROWS)]
)
def test_a_limit_is_a_number_or_a_share_of_batches(limit, rows):
    assert training_rows(FitArguments(limit_train_batches=limit), ROWS, BATCH) == rows


class NotesRows(Callback):
    seen = []  # noqa: RUF012

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(batch["tokens"])


def test_overfitting_takes_the_same_batches_in_every_epoch(tmp_path, monkeypatch):
    member = Member("callbacks", "notes", NotesRows, options={"changes_results": False})
    monkeypatch.setitem(registry("callbacks")._members, "notes", member)
    arguments = FitArguments(overfit_batches=2)
    fit(tmp_path / "progress", False, arguments=arguments, callbacks=[Choice("callbacks", "notes")])
    epochs = [torch.cat(NotesRows.seen[start : start + 2]) for start in range(0, 2 * EPOCHS, 2)]
    assert len(epochs[0]) == 2 * BATCH
    assert all(torch.equal(epoch, epochs[0]) for epoch in epochs)


def test_an_epoch_without_validation_has_no_value_of_it_and_is_not_the_best(tmp_path):
    _, lines = fit_twice(tmp_path, True, FitArguments(check_val_every_n_epoch=2), after=0)
    assert ["validation/perplexity" in line for line in lines] == [False, True, False, True]
    _, every = fit(tmp_path / "every", True)
    assert lines[3]["validation/perplexity"] == every[3]["validation/perplexity"]


def test_a_fit_that_ends_before_a_validation_has_no_best_epoch(tmp_path):
    with pytest.raises(FitFailed, match=r"before an epoch was validated; set trainer\.check_val_every_n_epoch=1"):
        fit(tmp_path / "progress", True, arguments=FitArguments(check_val_every_n_epoch=2, max_steps=2))


def test_gradients_can_be_clipped_value_by_value(tmp_path):
    settings = training(gradient_clip=1e-4, optimizer=Choice("optimizers", "adam"))
    by_norm, _ = fit(tmp_path / "norm", False, settings=settings)
    by_value, _ = fit(tmp_path / "value", False, settings=settings, arguments=VALUE)
    assert any(not torch.equal(by_norm[name], by_value[name]) for name in by_norm)


def test_a_broken_loss_names_the_step_also_where_batches_are_accumulated(tmp_path):
    settings = training(learning_rate=1e30, final_learning_rate=0.0, gradient_clip=None, warmup_steps=0)
    with pytest.raises(FitFailed, match="in epoch 0, at step 2;"):
        fit(tmp_path / "progress", True, settings=settings, arguments=FitArguments(accumulate_grad_batches=2))


# ---- batches in parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, BATCH, 2 * BATCH])
def test_a_fit_in_micro_batches_is_that_of_whole_batches_but_for_rounding(tmp_path, rows):
    whole, lines = fit(tmp_path / "whole", False, dropout=0.0)
    parts, again = fit(tmp_path / "parts", False, dropout=0.0, micro_batch_size=rows)
    for name, value in whole.items():
        # The gradient of a key's bias is zero but for rounding, which Adam makes steps of.
        assert "k_proj.bias" in name or torch.allclose(value, parts[name], atol=1e-4), name
    for one, other in zip(lines, again, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_devices_compute_their_parts_of_a_batch_in_parts(tmp_path):
    arguments = FitArguments(accumulate_grad_batches=2)
    alone, _ = shared_fits.fit(tmp_path / "alone", 1, arguments=arguments)
    shared, _ = shared_fits.fit(tmp_path / "shared", 2, arguments=arguments, micro_batch_size=2)
    for name, value in alone.items():
        assert "k_proj.bias" in name or torch.allclose(value, shared[name], atol=1e-4), name


@pytest.mark.parametrize("assembled", [language_model, vae])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_gradient_of_a_batch_is_the_sum_of_its_parts(assembled, rows, monkeypatch):
    module, batches = assembled(ONLY_RANK)
    monkeypatch.setattr(type(module), "_loss_scale", lambda self: 1.0)
    for batch in batches:
        gradients, losses = [], []
        for size in (None, rows):
            module.micro_batch_size = size
            module.network.zero_grad()
            loss = module.training_step(batch)
            loss.backward()
            losses.append(float(loss.detach()))
            gradients.append(torch.cat([weight.grad.flatten() for weight in module.network.parameters()]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        largest = max(gradients[0].abs().max(), torch.tensor(1e-6))
        assert (gradients[0] - gradients[1]).abs().max() <= ROUNDINGS * largest


# ---- callbacks that watch what is logged ------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 2])
def test_early_stopping_watches_a_value_of_the_line_and_a_fit_it_stopped_stays_stopped(tmp_path, after):
    settings = training(learning_rate=0.3, gradient_clip=1.0)
    stopping = Choice("callbacks", "early_stopping", EarlyStoppingSettings(patience=1))
    _, lines = fit_twice(tmp_path, True, NO_ARGUMENTS, after, settings=settings, callbacks=[stopping])
    perplexities = [line["validation/perplexity"] for line in lines]
    assert len(lines) < EPOCHS
    assert perplexities[-1] > perplexities[-2] == min(perplexities)
    assert all(map(math.isfinite, perplexities))
