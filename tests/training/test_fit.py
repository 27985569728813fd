"""Fits that are interrupted at any epoch's end and go on to the same bits."""

import math
import os
import shutil

import pytest
import torch
from shared_fits import network, training

from modelcollapse.data.batches import EpochSampler
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.errors import FitFailed
from modelcollapse.families.language_model.module import FittingModule
from modelcollapse.seeding import Stream
from modelcollapse.training.checkpoints import Pace
from modelcollapse.training.fit import Fit, fit_resumably, steps_per_epoch, training_rows, validation_rows
from modelcollapse.training.settings import NO_ARGUMENTS, TrainerSettings
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress, finished_epochs, newest_checkpoint

EPOCHS, ROWS, BATCH = 4, 22, 5
STEPS = -(-ROWS // BATCH)


class Interruption(BaseException):
    """Like a signal: not an Exception."""


def refuse(path, fault):
    raise AssertionError(f"{path} {fault}")


def fit(
    progress,
    keep_best,
    on_epoch=lambda line: None,
    seed=0,
    settings=None,
    rows_per_epoch=ROWS,
    owner="fit",
    discard=refuse,
    on_nan="stop",
    arguments=NO_ARGUMENTS,
    dropout=0.2,
    checkpoint_seconds=0.0,
    **more,
):
    """The fitted network and the lines of its epochs; the module is made anew, as after a kill."""
    progress.mkdir(exist_ok=True)
    settings = settings or training(gradient_clip=1.0)
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 30, (ROWS, 8), generator=generator, dtype=torch.int32)
    validation = torch.randint(0, 30, (9, 8), generator=generator, dtype=torch.int32)
    rows = training_rows(arguments, rows_per_epoch, BATCH)
    sampler = EpochSampler(ROWS, rows, BATCH, Stream(seed, 0, "test.order"), bool(arguments.overfit_batches))
    validation = validation[: validation_rows(arguments, len(validation), BATCH)]
    data = BlocksDataModule(blocks, torch.ones(ROWS), validation, sampler, 4)
    module = FittingModule(network(dropout), settings, EPOCHS, steps_per_epoch(arguments, len(sampler)))
    described = Fit(
        assemble=lambda execution, rank: (module, data),
        epochs=EPOCHS,
        keep_best=keep_best,
        gradient_clip=settings.gradient_clip,
        stream=Stream(seed, 0, "test.dropout"),
        label="test",
        on_nan=on_nan,
        arguments=arguments,
        **more,
    )
    _, _, lines = fit_resumably(
        described,
        execution=Execution(
            TrainerSettings("cpu", "32-true", 1, 4, False, checkpoint_seconds=checkpoint_seconds), None
        ),
        progress=Progress(progress, owner, discard),
        on_epoch=on_epoch,
    )
    return {name: tensor.clone() for name, tensor in module.network.state_dict().items()}, lines


def interrupted_after(epoch):
    def on_epoch(line):
        if line["epoch"] == epoch:
            raise Interruption

    return on_epoch


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module", params=[True, False], ids=["best_val", "last"])
def whole(request, tmp_path_factory):
    progress = tmp_path_factory.mktemp("whole")
    return request.param, *fit(progress, request.param)


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_interrupted_after_an_epoch_a_fit_ends_with_the_same_bits(tmp_path, whole, epoch):
    keep_best, weights, lines = whole
    with pytest.raises(Interruption):
        fit(tmp_path / "progress", keep_best, interrupted_after(epoch))
    assert finished_epochs(newest_checkpoint(tmp_path / "progress")) == epoch + 1
    reported = []
    again, again_lines = fit(tmp_path / "progress", keep_best, reported.append)
    assert_same_bits(again, weights)
    assert again_lines == lines
    assert [line["epoch"] for line in reported] == list(range(EPOCHS))


def test_interrupted_after_every_epoch_a_fit_ends_with_the_same_bits(tmp_path, whole):
    keep_best, weights, lines = whole
    for epoch in range(EPOCHS):
        with pytest.raises(Interruption):
            fit(tmp_path / "progress", keep_best, interrupted_after(epoch))
    again, again_lines = fit(tmp_path / "progress", keep_best)
    assert_same_bits(again, weights)
    assert again_lines == lines


def test_interrupted_inside_an_epoch_a_fit_ends_with_the_same_bits(tmp_path, whole, monkeypatch):
    keep_best, weights, _ = whole
    step, count = FittingModule.training_step, iter(range(1000))

    def failing_step(self, batch):
        if next(count) == 2 * STEPS + 1:
            raise Interruption
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(FittingModule, "training_step", failing_step)
        with pytest.raises(Interruption):
            fit(tmp_path / "progress", keep_best)
    assert finished_epochs(newest_checkpoint(tmp_path / "progress")) == 2
    assert_same_bits(fit(tmp_path / "progress", keep_best)[0], weights)


def test_a_fit_does_not_depend_on_random_numbers_drawn_before_it_and_leaves_them_alone(tmp_path, whole):
    keep_best, weights, _ = whole
    torch.manual_seed(99)
    expected = torch.rand(1)
    torch.manual_seed(99)
    again, _ = fit(tmp_path / "progress", keep_best)
    assert torch.rand(1) == expected
    assert_same_bits(again, weights)


def test_another_stream_gives_another_fit(tmp_path, whole):
    keep_best, weights, _ = whole
    other, _ = fit(tmp_path / "progress", keep_best, seed=1)
    assert any(not torch.equal(other[name], weights[name]) for name in weights)


def test_the_lines_hold_epoch_step_losses_and_rate(tmp_path):
    _, lines = fit(tmp_path / "progress", keep_best=False)
    assert [line["epoch"] for line in lines] == list(range(EPOCHS))
    assert [line["step"] for line in lines] == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]
    for line in lines:
        assert set(line) == {"epoch", "step", "train/loss", "validation/perplexity", "learning_rate"}


def test_the_best_weights_are_those_of_the_epoch_with_the_lowest_validation_loss(tmp_path):
    """On random blocks more epochs overfit: the best epoch is not the last."""
    settings = training(learning_rate=0.1, gradient_clip=1.0)
    best, lines = fit(tmp_path / "best", keep_best=True, settings=settings)
    perplexities = [line["validation/perplexity"] for line in lines]
    epoch = perplexities.index(min(perplexities))
    assert epoch < EPOCHS - 1
    with pytest.raises(Interruption):
        fit(tmp_path / "stopped", keep_best=False, on_epoch=interrupted_after(epoch), settings=settings)
    from modelcollapse.training.checkpoints import SafeCheckpointIO

    checkpoint = SafeCheckpointIO().load_checkpoint(newest_checkpoint(tmp_path / "stopped"))
    assert_same_bits(
        best,
        {
            name.removeprefix("network."): value
            for name, value in checkpoint["state_dict"].items()
            if "network." in name
        },
    )
    last, _ = fit(tmp_path / "last", keep_best=False, settings=settings)
    assert any(not torch.equal(best[name], last[name]) for name in best)


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    _, lines = fit(tmp_path / "progress", keep_best=True)
    perplexities = [line["validation/perplexity"] for line in lines]
    assert sorted(path.name for path in (tmp_path / "progress").iterdir()) == [
        f"best-{perplexities.index(min(perplexities)):05d}.safetensors",
        f"epoch-{EPOCHS:05d}",
    ]


# ---- when checkpoints are written -----------------------------------------------------------------------------


SELDOM = 3600.0


def test_a_checkpoint_is_due_when_there_is_more_to_lose_than_it_costs():
    times = iter([0.0, 59.0, 60.0, 60.0, 70.0, 269.0, 270.0, 270.0, 271.0, 330.0, 331.0])
    pace = Pace(60.0, lambda: next(times))
    assert not pace.is_due()  # 59 s after the start
    assert pace.is_due()
    with pace.writing():  # takes 10 s, and is worth 200 s of work
        pass
    assert not pace.is_due()
    assert pace.is_due()
    with pace.writing():  # takes 1 s
        pass
    assert not pace.is_due()
    assert pace.is_due()
    assert Pace(0.0, lambda: 0.0).is_due()


def test_a_short_fit_writes_no_checkpoint_and_ends_with_the_same_bits(tmp_path, whole):
    keep_best, weights, lines = whole
    again, again_lines = fit(tmp_path / "progress", keep_best, checkpoint_seconds=SELDOM)
    assert_same_bits(again, weights)
    assert again_lines == lines
    assert not list((tmp_path / "progress").iterdir())


def test_interrupted_without_a_checkpoint_a_fit_computes_its_epochs_again(tmp_path, whole):
    keep_best, weights, lines = whole
    with pytest.raises(Interruption):
        fit(tmp_path / "progress", keep_best, interrupted_after(1))
    with pytest.raises(Interruption):
        fit(tmp_path / "progress", keep_best, interrupted_after(2), checkpoint_seconds=SELDOM)
    assert finished_epochs(newest_checkpoint(tmp_path / "progress")) == 2
    reported = []
    again, again_lines = fit(tmp_path / "progress", keep_best, reported.append, checkpoint_seconds=SELDOM)
    assert_same_bits(again, weights)
    assert again_lines == lines
    assert [line["epoch"] for line in reported] == list(range(EPOCHS))


@pytest.mark.parametrize("rate", [0.01, 0.1], ids=["the best epoch is late", "the best epoch is early"])
def test_best_weights_that_no_file_holds_yet_are_written_with_the_next_checkpoint(tmp_path, monkeypatch, rate):
    """A checkpoint after the third epoch alone; killed after it, the fit finds the best weights of one before."""
    settings = training(learning_rate=rate, gradient_clip=1.0)
    weights, lines = fit(tmp_path / "whole", True, settings=settings)
    due = iter([False, False, True, False])
    with monkeypatch.context() as patched:
        patched.setattr(Pace, "is_due", lambda pace: next(due))
        with pytest.raises(Interruption):
            fit(tmp_path / "progress", True, interrupted_after(3), settings=settings, checkpoint_seconds=SELDOM)
    values = [line["validation/perplexity"] for line in lines[:3]]
    assert sorted(path.name for path in (tmp_path / "progress").iterdir()) == [
        f"best-{values.index(min(values)):05d}.safetensors",
        "epoch-00003",
    ]
    again, again_lines = fit(tmp_path / "progress", True, settings=settings, checkpoint_seconds=SELDOM)
    assert_same_bits(again, weights)
    assert again_lines == lines


# ---- damaged progress -----------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path, other):
    """Another fit's file or folder, whole, in the place of this one's."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(other, path) if other.is_dir() else shutil.copy(other, path)


DAMAGES = {
    "flipped": lambda path, other: flip(path),
    "truncated": lambda path, other: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path, other: os.truncate(path, 0),
    "removed": lambda path, other: path.unlink(),
    "swapped": swap,
}
FILES = {
    "tensors": "epoch-*/tensors.safetensors",
    "structure": "epoch-*/structure.json",
    "best": "best-*.safetensors",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_progress_is_reported_and_not_resumed_from(tmp_path, whole, file, damage):
    keep_best, weights, lines = whole
    if file == "best" and not keep_best:
        pytest.skip("no best weights are kept")
    for name, seed in (("progress", 0), ("other", 1)):
        with pytest.raises(Interruption):
            fit(tmp_path / name, keep_best, interrupted_after(1), seed=seed, owner=f"fit {seed}")
    (path,), (other,) = ((tmp_path / name).glob(FILES[file]) for name in ("progress", "other"))
    DAMAGES[damage](path, other)
    reported = []
    again, again_lines = fit(
        tmp_path / "progress", keep_best, owner="fit 0", discard=lambda path, fault: reported.append(path.name)
    )
    assert reported == [path.name if file == "best" else path.parent.name]
    assert_same_bits(again, weights)
    assert again_lines == lines


@pytest.mark.parametrize("damage", ["whole checkpoint swapped", "a file in its place"])
def test_a_checkpoint_of_another_fit_is_not_gone_on_from(tmp_path, whole, damage):
    keep_best, weights, _ = whole
    for name, seed in (("progress", 0), ("other", 1)):
        with pytest.raises(Interruption):
            fit(tmp_path / name, keep_best, interrupted_after(1), seed=seed, owner=f"fit {seed}")
    path, other = (newest_checkpoint(tmp_path / name) for name in ("progress", "other"))
    swap(path, other if damage == "whole checkpoint swapped" else other / "structure.json")
    reported = []
    again, _ = fit(tmp_path / "progress", keep_best, owner="fit 0", discard=lambda *what: reported.append(what))
    assert len(reported) == 1
    assert_same_bits(again, weights)


def test_where_damage_is_to_stop_the_fit_nothing_is_fitted(tmp_path):
    with pytest.raises(Interruption):
        fit(tmp_path / "progress", True, interrupted_after(1))
    flip(newest_checkpoint(tmp_path / "progress") / "tensors.safetensors")
    before = sorted((tmp_path / "progress").rglob("*"))
    with pytest.raises(AssertionError, match="epoch-00002 was altered"):
        fit(tmp_path / "progress", True)
    assert sorted((tmp_path / "progress").rglob("*")) == before


# ---- losses that are no numbers -------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_fit_and_says_where(tmp_path):
    settings = training(learning_rate=1e30, final_learning_rate=0.0, gradient_clip=None, warmup_steps=0)
    with pytest.raises(FitFailed, match=r"test: .* in epoch 0, at step 2;.*learning_rate.*on_nan=continue"):
        fit(tmp_path / "progress", keep_best=True, settings=settings)
    assert newest_checkpoint(tmp_path / "progress") is None


def test_with_no_sound_epoch_there_is_nothing_to_go_on_with(tmp_path):
    settings = training(learning_rate=1e30, final_learning_rate=0.0, gradient_clip=None, warmup_steps=0)
    with pytest.raises(FitFailed, match="before any epoch was finished: there are no weights"):
        fit(tmp_path / "progress", keep_best=True, settings=settings, on_nan="continue")


@pytest.mark.parametrize("seconds", [0.0, SELDOM], ids=["all checkpoints", "no checkpoints"])
@pytest.mark.parametrize("interrupted", [False, True], ids=["in one go", "interrupted"])
def test_a_fit_that_breaks_can_end_with_the_weights_before(tmp_path, whole, monkeypatch, interrupted, seconds):
    keep_best, _, lines = whole
    with pytest.raises(Interruption):
        fit(tmp_path / "stopped", False, interrupted_after(1))
    from modelcollapse.training.checkpoints import SafeCheckpointIO

    state = SafeCheckpointIO().load_checkpoint(newest_checkpoint(tmp_path / "stopped"))["state_dict"]
    step = FittingModule.training_step

    def broken_step(self, batch):
        loss = step(self, batch)
        return loss * math.nan if self.trainer.global_step == 2 * STEPS + 1 else loss

    monkeypatch.setattr(FittingModule, "training_step", broken_step)
    reported = []
    if interrupted:
        with pytest.raises(Interruption):
            fit(tmp_path / "progress", keep_best, interrupted_after(1), on_nan="continue")
    more = {"on_nan": "continue", "checkpoint_seconds": seconds}
    weights, broken = fit(tmp_path / "progress", keep_best, reported.append, **more)
    assert broken[:2] == lines[:2]
    assert [line["epoch"] for line in reported] == [0, 1, 2]
    assert len(broken) == 3
    assert not math.isfinite(broken[2]["validation/perplexity"])
    assert all(tensor.isfinite().all() for tensor in weights.values())
    if not keep_best:
        assert_same_bits(weights, {name: state[f"network.{name}"] for name in weights})


def test_a_training_loss_of_nan_is_not_averaged_away(tmp_path, monkeypatch):
    step = FittingModule.training_step

    def broken_step(self, batch):
        loss = step(self, batch)
        if self.trainer.global_step == STEPS + 2:
            self.training_loss.update(torch.tensor(math.nan), torch.tensor(1.0))
        return loss

    monkeypatch.setattr(FittingModule, "training_step", broken_step)
    with pytest.raises(FitFailed, match=rf"train/loss became NaN or infinite in epoch 1, by step {2 * STEPS};"):
        fit(tmp_path / "progress", keep_best=False)


def test_epochs_of_another_length_than_the_data(tmp_path):
    _, lines = fit(tmp_path / "progress", keep_best=False, rows_per_epoch=50)
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
