"""Tiny fits that can be pickled for other ranks: everything is a module-level function."""

import os
import signal
from functools import partial

import torch
from transformers import OPTConfig, OPTForCausalLM

from modelcollapse.data.batches import ONLY_RANK, EpochSampler
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.families.language_model.module import FittingModule
from modelcollapse.families.language_model.settings import TrainingSettings
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.training.fit import Fit, fit_resumably
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress

EPOCHS, ROWS, BATCH, VALIDATION_ROWS = 3, 22, 7, 9
"""Of four batches the last has one row: fewer than there are ranks, of which all but one then count nothing."""
STEPS = -(-ROWS // BATCH)
CLIP = 0.5


class Faulty(FittingModule):
    """Goes wrong in rank 1, in the middle of the second epoch, as ``fault`` says."""

    fault = None

    def training_step(self, batch):
        loss = super().training_step(batch)
        if self.global_rank != 1 or self.trainer.global_step != STEPS + 1:
            return loss
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "memory":
            raise MemoryError("too little in rank 1")
        return loss * float("nan") if self.fault == "nan" else loss


def network(dropout=0.2):
    config = OPTConfig(
        vocab_size=30,
        hidden_size=16,
        word_embed_proj_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        max_position_embeddings=16,
        dropout=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return OPTForCausalLM(config).eval()


def training(**changed):
    values = {
        "epochs": EPOCHS,
        "generation0_epochs": None,
        "epoch_size": "training_set",
        "batch_size": BATCH,
        "learning_rate": 2e-2,
        "final_learning_rate": 1e-4,
        "schedule": Choice("schedules", "cosine_per_step"),
        "warmup_steps": 2,
        "weight_decay": 0.01,
        "gradient_clip": CLIP,
        "checkpoint": "best_val",
    }
    return TrainingSettings(**{**values, **changed})


def assemble(dropout, fault, execution, rank, validation_rows=VALIDATION_ROWS):
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 30, (ROWS, 8), generator=generator, dtype=torch.int32)
    validation = torch.randint(0, 30, (validation_rows, 8), generator=generator, dtype=torch.int32)
    weights = torch.rand(ROWS, generator=generator) * 2
    sampler = EpochSampler(ROWS, ROWS, BATCH, Stream(0, 0, "test.order"))
    part = ONLY_RANK if fault == "same rows" else rank
    data = BlocksDataModule(blocks, weights, validation, sampler, 4, part)
    module = Faulty(network(dropout), training(), EPOCHS, len(sampler))
    module.fault = fault
    if fault == "unready" and rank.index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return module, data


def fit(
    folder, devices, dropout=0.0, fault=None, on_epoch=lambda line: None, validation_rows=VALIDATION_ROWS, **changed
):
    """The weights and the lines of a fit that goes on from what is in the folder."""
    folder.mkdir(exist_ok=True)
    described = Fit(
        assemble=partial(assemble, dropout, fault, validation_rows=validation_rows),
        epochs=EPOCHS,
        gradient_clip=CLIP,
        stream=Stream(0, 0, "test.dropout"),
        label="test",
        devices=devices,
        **{"keep_best": False, **changed},
    )
    module, _, lines = fit_resumably(
        described,
        execution=Execution(TrainerSettings("cpu", "32-true", 1, 4, False, checkpoint_seconds=0.0), None),
        progress=Progress(folder, "fit", lambda path, fault: None),
        on_epoch=on_epoch,
    )
    return {name: tensor.clone() for name, tensor in module.network.state_dict().items()}, lines
