"""Trainers take nothing from the environment, the working folder or signals, and every argument is given."""

import inspect
import shutil
import signal
from typing import ClassVar

import pytest
import pytorch_lightning
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback
from test_fit import Interruption, assert_same_bits, fit, interrupted_after

from modelcollapse.registry import Choice, Member, registry
from modelcollapse.training.checkpoints import SafeCheckpointIO
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import newest_checkpoint

PLANTED = {
    "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1",
    "PL_TRAINER_FAST_DEV_RUN": "1",
    "PL_TRAINER_MAX_STEPS": "1",
    "PL_TRAINER_PRECISION": "bf16-mixed",
    "PL_GLOBAL_SEED": "7",
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NAME": "chain",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "TORCHELASTIC_RUN_ID": "none",
}
"""Variables that Lightning obeys."""


class Sees(Callback):
    """Sends itself a signal in the middle of a fit, and notes what it sees there."""

    seen: ClassVar[dict] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            self.seen.update(rank=rank_zero_only.rank, term=signal.getsignal(signal.SIGTERM), usr1=0)
            signal.raise_signal(signal.SIGUSR1)


@pytest.fixture
def watching(monkeypatch):
    member = Member("callbacks", "sees", Sees, options={"changes_results": False})
    monkeypatch.setitem(registry("callbacks")._members, "sees", member)
    monkeypatch.setattr(Sees, "seen", {})
    return Choice("callbacks", "sees")


def test_a_fit_obeys_no_variables_no_checkpoints_that_lie_about_and_no_signals(tmp_path, monkeypatch, watching):
    weights, lines = fit(tmp_path / "plain", keep_best=False)
    with pytest.raises(Interruption):
        fit(tmp_path / "other", False, interrupted_after(1), seed=1)
    here = tmp_path / "here"
    shutil.copytree(newest_checkpoint(tmp_path / "other"), here / "hpc_ckpt_1.ckpt")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    monkeypatch.chdir(here)
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    term = signal.getsignal(signal.SIGTERM)
    ours = signal.signal(signal.SIGUSR1, lambda number, frame: Sees.seen.update(usr1=Sees.seen["usr1"] + 1))
    try:
        again, again_lines = fit(tmp_path / "sealed", keep_best=False, callbacks=[watching])
    finally:
        signal.signal(signal.SIGUSR1, ours)
    assert Sees.seen == {"rank": 0, "term": term, "usr1": 1}
    assert_same_bits(again, weights)
    assert again_lines == lines
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_the_checkpoint_that_lies_about_is_one_that_lightning_would_load(tmp_path):
    """Otherwise the test above would show nothing."""
    with pytest.raises(Interruption):
        fit(tmp_path / "other", False, interrupted_after(0))
    folder = tmp_path / "root"
    shutil.copytree(newest_checkpoint(tmp_path / "other"), folder / "hpc_ckpt_1.ckpt")
    trainer = pytorch_lightning.Trainer(
        default_root_dir=folder, plugins=[SafeCheckpointIO()], logger=False, accelerator="cpu", devices=1
    )
    assert trainer._checkpoint_connector._hpc_resume_path == str(folder / "hpc_ckpt_1.ckpt")


def test_every_argument_of_lightnings_trainer_is_given(monkeypatch):
    given = {}

    class Recording(pytorch_lightning.Trainer):
        def __init__(self, **arguments):
            given.update(arguments)
            super().__init__(**arguments)

    names = set(inspect.signature(pytorch_lightning.Trainer).parameters)
    monkeypatch.setattr(pytorch_lightning, "Trainer", Recording)
    trainer = Execution(TrainerSettings("cpu", "32-true", 1, 4, False), None).trainer(())
    assert set(given) == names
    assert trainer.world_size == 1


def test_callbacks_that_installed_packages_register_with_lightning_are_left_out(tmp_path, monkeypatch):
    description = tmp_path / "planted-1.0.dist-info"
    description.mkdir()
    (description / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (description / "entry_points.txt").write_text(
        "[pytorch_lightning.callbacks_factory]\nplanted = planted:callbacks\n"
    )
    (tmp_path / "planted.py").write_text(
        "from pytorch_lightning import Callback\n\n\nclass Planted(Callback):\n    pass\n\n\n"
        "def callbacks():\n    return [Planted()]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def names(trainer):
        return [type(callback).__name__ for callback in trainer.callbacks]

    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    assert "Planted" not in names(Execution(TrainerSettings(), None).trainer(()))
    assert "Planted" in names(pytorch_lightning.Trainer(**settings))
