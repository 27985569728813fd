"""A module from outside: what it logs is recorded and shown, its monitored value chooses the best epoch."""

import io

import pytest
import torch
from pytorch_lightning import LightningDataModule
from rich.console import Console
from test_fit import assert_same_bits, refuse

from modelcollapse.data.batches import EpochSampler, in_order_together
from modelcollapse.errors import FitFailed
from modelcollapse.seeding import Stream
from modelcollapse.training.fit import Fit, fit_resumably
from modelcollapse.training.module import FitModule
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress

ROWS, EPOCHS = 12, 3


class Regression(FitModule):
    """As docs/lightning.md prints it."""

    monitor = "validation/loss"

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = torch.nn.Linear(2, 1)

    def loss(self, batch):
        rows, targets = batch
        loss = torch.nn.functional.mse_loss(self.network(rows), targets)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(rows))
        return loss

    def validation_step(self, batch):
        rows, targets = batch
        loss = torch.nn.functional.mse_loss(self.network(rows), targets)
        self.log("validation/loss", loss, batch_size=len(rows), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Splitting(Regression):
    def loss(self, batch):
        rows, targets, share = batch if len(batch) == 3 else (*batch, 1.0)
        return super().loss((rows, targets)) * share

    def split(self, batch, rows):
        parts = zip(*(part.split(rows) for part in batch), strict=True)
        return [(one, other, len(one) / len(batch[0])) for one, other in parts]


class Points(LightningDataModule):
    def __init__(self):
        super().__init__()
        self.rows = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(1))
        self.targets = self.rows.sum(1, keepdim=True)

    def train_dataloader(self):
        data = torch.utils.data.TensorDataset(self.rows, self.targets)
        sampler = EpochSampler(ROWS, ROWS, 5, Stream(0, 0, "test.order"))
        return torch.utils.data.DataLoader(data, batch_sampler=sampler, generator=torch.Generator())

    def val_dataloader(self):
        return in_order_together((self.rows, self.targets), 4)


def fit(folder, module, console=None, **more):
    folder.mkdir()
    described = Fit(
        assemble=lambda execution, rank: (module, Points()),
        epochs=EPOCHS,
        keep_best=True,
        gradient_clip=None,
        stream=Stream(0, 0, "test.noise"),
        label="mine",
        **more,
    )
    execution = Execution(TrainerSettings("cpu", "32-true", 1, 4, True), console)
    progress = Progress(folder, "mine", refuse)
    return fit_resumably(described, execution=execution, progress=progress, on_epoch=lambda line: None)


def test_what_a_module_logs_is_in_the_lines_and_beside_the_bar(tmp_path):
    screen = io.StringIO()
    fitted = fit(tmp_path / "fit", Regression(), Console(file=screen, force_terminal=True, width=160))
    assert [set(line) for line in fitted.lines] == [{"epoch", "step", "train/loss", "validation/loss"}] * EPOCHS
    losses = [line["validation/loss"] for line in fitted.lines]
    assert losses == sorted(losses, reverse=True)
    points = Points()
    with torch.no_grad():
        kept = (fitted.module.network(points.rows) - points.targets).square().mean()
    assert float(kept) == pytest.approx(losses[-1])
    assert "train/loss" in screen.getvalue()


def test_a_module_that_can_split_its_batches_computes_them_in_parts(tmp_path):
    whole = fit(tmp_path / "whole", Splitting()).module.network.state_dict()
    parts = fit(tmp_path / "parts", Splitting(), micro_batch_size=2).module.network.state_dict()
    for name, value in whole.items():
        assert torch.allclose(value, parts[name], atol=1e-6), name
    assert_same_bits(whole, fit(tmp_path / "plain", Regression()).module.network.state_dict())


def test_one_that_cannot_says_so(tmp_path):
    with pytest.raises(FitFailed, match=r"Regression cannot split its batches: set trainer\.micro_batch_size=null"):
        fit(tmp_path / "fit", Regression(), micro_batch_size=2)
