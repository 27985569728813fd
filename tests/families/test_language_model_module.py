"""Losses, schedule and dropout of the language model, against independent references."""

import copy
import math

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from transformers import OPTConfig, OPTForCausalLM

from modelcollapse.data.batches import EpochSampler, in_order
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.families.language_model import stages
from modelcollapse.families.language_model.module import (
    FittingModule,
    learning_rate_factor,
    mean_metric,
    token_losses,
    weighted_loss,
)
from modelcollapse.families.language_model.network import new_network, scoring_bytes
from modelcollapse.families.language_model.scoring import ScoringModule
from modelcollapse.families.language_model.settings import (
    ArchitectureSettings,
    TrainingSettings,
    TruncatedCrossEntropySettings,
)
from modelcollapse.families.language_model.shapes import shape_of
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.training import trainer
from modelcollapse.training.settings import SgdSettings, TrainerSettings
from modelcollapse.training.trainer import Execution

VOCABULARY, LENGTH = 40, 7


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network(dropout=0.1):
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        word_embed_proj_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=32,
        max_position_embeddings=32,
        dropout=dropout,
    )
    return OPTForCausalLM(config).eval()


def blocks(count):
    return torch.randint(0, VOCABULARY, (count, LENGTH), dtype=torch.int32)


def training(**changed):
    values = {
        "epochs": 2,
        "generation0_epochs": None,
        "epoch_size": "training_set",
        "batch_size": 4,
        "learning_rate": 1e-2,
        "final_learning_rate": 1e-3,
        "schedule": Choice("schedules", "cosine_per_epoch"),
        "warmup_steps": 0,
        "weight_decay": 0.01,
        "gradient_clip": None,
        "checkpoint": "last",
    }
    return TrainingSettings(**{**values, **changed})


def execution(precision="32-true"):
    return Execution(TrainerSettings("cpu", precision, 1, 4, False), None)


def fit(module, settings, count=12, callbacks=(), weights=None, precision="32-true"):
    rows = blocks(count)
    sampler = EpochSampler(count, count, settings.batch_size, Stream(0, 0, "test.order"))
    data = BlocksDataModule(rows, torch.ones(count) if weights is None else weights, blocks(8), sampler, 4)
    fitting = execution(precision).trainer(callbacks, settings.epochs, settings.gradient_clip)
    fitting.fit(module, datamodule=data)


# ---- losses ---------------------------------------------------------------------------------------------------------


def test_token_losses_are_those_of_transformers():
    model, tokens = network(), blocks(5).long()
    own = token_losses(model, tokens)
    assert own.shape == (5, LENGTH - 1)
    assert own.dtype == torch.float32
    theirs = model(input_ids=tokens, labels=tokens).loss
    assert own.mean().item() == pytest.approx(theirs.item(), rel=1e-6)


def test_token_losses_agree_with_a_float64_computation_token_by_token():
    model, tokens = network().double(), blocks(3).long()
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits.numpy()
        own = token_losses(model, tokens).numpy()
    for row in range(3):
        for position in range(LENGTH - 1):
            scores = logits[row, position]
            log_sum = scores.max() + math.log(np.exp(scores - scores.max()).sum())
            assert own[row, position] == pytest.approx(log_sum - scores[tokens[row, position + 1]], rel=1e-5)


def test_a_pad_token_in_the_text_is_a_token_like_any_other():
    model = network()
    tokens = blocks(4).long()
    tokens[:, 2] = model.config.pad_token_id
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[:, :-1]
        expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        assert torch.allclose(token_losses(model, tokens), expected, atol=1e-6)


def test_scores_are_exact_means_over_tokens_and_over_sequences():
    """Uneven batches, two sets in one pass, and targets of one kind left out."""
    model, first, second = network(), blocks(10), blocks(3)
    first[:, 3] = 2
    module = ScoringModule(model, 2, skipped_token=2)
    execution().trainer(()).test(module, [in_order(first.long(), 4), in_order(second.long(), 4)], verbose=False)
    for index, rows in enumerate((first, second)):
        with torch.no_grad():
            losses = token_losses(model, rows.long()).double().numpy()
        scores = module.scores_of(index)
        assert float(scores.loss.compute()) == pytest.approx(losses.mean(), rel=1e-6)
        assert scores.sequence_loss.compute().numpy() == pytest.approx(losses.mean(1), rel=1e-6)
        kept = rows[:, 1:].numpy() != 2
        assert float(scores.loss_without_skipped.compute()) == pytest.approx(losses[kept].mean(), rel=1e-6)


def test_perplexity_of_a_finished_chain_is_the_exponential_of_the_mean_loss_in_float64(finished_chain):
    from safetensors.numpy import load_file

    from conftest import run_chain_of
    from modelcollapse.data.blocks import read_blocks
    from modelcollapse.families.language_model.network import load_network

    finished, store, words = finished_chain
    chain = run_chain_of(words[:-2], store, None, execute=False)
    generation, line = chain.generations()[1], finished.lines()[1]
    real = chain.store.folder(chain.family.inputs()["real"])
    model = load_network(chain.store.folder(generation.artifacts["model"])).double()
    reference = load_network(chain.store.folder(chain.generations()[0].artifacts["model"])).double()

    def sequence_losses(scored_by, rows):
        with torch.no_grad():
            log_probabilities = scored_by(input_ids=rows).logits.log_softmax(-1)[:, :-1]
        return -log_probabilities.gather(2, rows[:, 1:, None]).squeeze(2).mean(1).numpy()

    for split in ("validation", "test"):
        expected = math.exp(sequence_losses(model, read_blocks(real, split).long()).mean())
        assert line[f"{split}/perplexity"] == pytest.approx(expected, rel=1e-5)
    written = read_blocks(chain.store.folder(generation.artifacts["synthetic"]), "blocks").long()
    perplexities = np.exp(sequence_losses(reference, written))
    assert line["synthetic/reference_perplexity/median"] == pytest.approx(np.median(perplexities), rel=1e-5)
    assert line["synthetic/reference_perplexity/mean"] == pytest.approx(perplexities.mean(), rel=1e-5)
    stored = load_file(chain.store.folder(generation.artifacts["measures"]) / "losses.safetensors")
    assert np.exp(stored["reference.sequences"]) == pytest.approx(perplexities, rel=1e-5)


def test_the_weighted_loss_is_the_weighted_mean_over_blocks():
    """Golden ratio at k = 1: real rows weigh 0.618 together, synthetic ones 0.382."""
    real_share = (math.sqrt(5) - 1) / 2
    model, tokens = network(), blocks(6).long()
    weights = torch.tensor([2 * real_share] * 3 + [2 * (1 - real_share)] * 3)
    module = FittingModule(model, training(), 1, 1)
    loss = module.training_step({"tokens": tokens, "weights": weights, "scale": 1.0})
    with torch.no_grad():
        by_block = token_losses(model, tokens).mean(1).tolist()
    expected = real_share * sum(by_block[:3]) / 3 + (1 - real_share) * sum(by_block[3:]) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert float(module.training_loss.compute()) == pytest.approx(expected, rel=1e-6)


def test_a_mean_takes_weights_and_lets_nan_through():
    metric = mean_metric()
    metric.update(torch.tensor([1.0, 3.0]).double(), torch.tensor([3.0, 1.0]).double())
    assert metric.compute().item() == 1.5
    metric.update(torch.tensor([math.nan]).double())
    assert math.isnan(metric.compute().item())


def test_weights_reach_the_gradient():
    model, tokens = network(dropout=0.0), blocks(4).long()
    module = FittingModule(model, training(), 1, 1)
    batch = {"tokens": tokens, "weights": torch.tensor([2.0, 2.0, 0.0, 0.0]), "scale": 1.0}
    module.training_step(batch).backward()
    weighted = model.model.decoder.layers[0].fc1.weight.grad.clone()
    model.zero_grad()
    model(input_ids=tokens[:2], labels=tokens[:2]).loss.backward()
    assert torch.allclose(weighted, model.model.decoder.layers[0].fc1.weight.grad, atol=1e-7)


def test_scores_do_not_depend_on_the_batch_size():
    """Within 1e-5 nats, block by block: other batches are other orders of summation."""
    model, rows = network(), blocks(50)

    def scored(batch_size):
        module = ScoringModule(model, 1, None)
        execution().trainer(()).test(module, [in_order(rows, batch_size)], verbose=False)
        return module.scores_of(0).sequence_loss.compute().numpy()

    whole = scored(50)
    for batch_size in (1, 7, 64):
        assert np.abs(scored(batch_size) - whole).max() < 1e-5


@pytest.mark.parametrize(("asked", "used"), [(None, 4), (7, 7)])
def test_a_score_takes_the_largest_batch_that_fits(asked, used, monkeypatch):
    monkeypatch.setattr(trainer, "CPU_SCORING_BYTES", 4 * scoring_bytes(network(), LENGTH) + 1)
    chosen = Execution(TrainerSettings("cpu", "32-true", 1, asked, False), None)
    assert chosen.scoring_batch_size(scoring_bytes(network(), LENGTH)) == used
    assert chosen.scoring_batch_size(2**40) == (asked or 1)


# ---- precision and golden values -----------------------------------------------------------------------------------


class Types(Callback):
    """Types that a layer computes in, of weights and of what the optimiser keeps."""

    def __init__(self):
        self.outputs, self.kept = set(), set()

    def on_fit_start(self, trainer, pl_module):
        for layer in pl_module.network.model.decoder.layers:
            layer.fc1.register_forward_hook(lambda module, inputs, output: self.outputs.add(output.dtype))

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.kept |= {tensor.dtype for weight in pl_module.parameters() for tensor in (weight, weight.grad)}
        states = trainer.optimizers[0].state.values()
        self.kept |= {tensor.dtype for state in states for tensor in state.values()}


@pytest.mark.parametrize("gradient_clip", [None, 1.0])
def test_mixed_precision_computes_in_bfloat16_and_keeps_everything_in_float32(gradient_clip):
    types, settings = Types(), training(gradient_clip=gradient_clip)
    fit(FittingModule(network(), settings, 2, 3), settings, callbacks=[types], precision="bf16-mixed")
    assert types.outputs == {torch.bfloat16}
    assert types.kept == {torch.float32}


def test_losses_in_mixed_precision_are_near_those_in_float32():
    model, tokens = network(), blocks(20)
    with torch.no_grad():
        plain = token_losses(model, tokens)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = token_losses(model, tokens)
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed, plain, atol=2e-2)
    assert abs(float(mixed.mean() - plain.mean())) < 2e-3


GOLDEN = {"train/loss": 3.54328648, "validation/perplexity": 41.03793043}


def test_fits_mean_what_the_version_of_their_recipe_says():
    """Where these values change beyond rounding, the version of ``stages.fit`` is to be raised."""
    module, settings = FittingModule(network(), training(), 2, 3), training()
    with Stream(0, 0, "test.golden").global_rng():
        fit(module, settings)
    line = module.epoch_line()
    assert stages.fit.version == 2
    assert {name: line[name] for name in GOLDEN} == pytest.approx(GOLDEN, rel=1e-4)


# ---- losses and optimizers that are chosen -------------------------------------------------------------------------


def test_the_chosen_loss_is_learnt_and_validation_stays_cross_entropy():
    """Of a confident network: half of its targets are above gamma and have no gradient."""
    model, tokens = network(dropout=0.0), blocks(6).long()
    with torch.no_grad():
        losses = token_losses(model, tokens)
    gamma = float((-losses).exp().median())
    settings = training(loss=Choice("losses", "truncated_cross_entropy", TruncatedCrossEntropySettings(gamma)))
    module = FittingModule(model, settings, 1, 1)
    loss = module.training_step({"tokens": tokens, "weights": torch.ones(6), "scale": 1.0})
    expected = losses.where(losses >= -math.log(gamma), 0.0).mean()
    assert 0 < expected < losses.mean()
    assert loss.item() == pytest.approx(float(expected), rel=1e-6)
    assert float(module.training_loss.compute()) == pytest.approx(float(expected), rel=1e-6)
    module.validation_step(tokens)
    assert module.validation_value() == pytest.approx(float(losses.mean()), rel=1e-6)


OPTIMIZERS = {
    Choice("optimizers", "adamw"): lambda weights: torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.1, fused=True),
    Choice("optimizers", "adam"): lambda weights: torch.optim.Adam(weights, lr=1e-2, weight_decay=0.1),
    Choice("optimizers", "sgd", SgdSettings(0.5)): lambda weights: torch.optim.SGD(
        weights, lr=1e-2, momentum=0.5, weight_decay=0.1
    ),
}


@pytest.mark.parametrize("choice", OPTIMIZERS, ids=lambda choice: choice.name)
def test_an_optimizer_is_torchs_to_the_bit(choice):
    constant = Choice("schedules", "constant")
    settings = training(optimizer=choice, schedule=constant, learning_rate=1e-2, weight_decay=0.1, gradient_clip=None)
    found, tokens = network(dropout=0.0), blocks(4).long()
    expected = copy.deepcopy(found)
    optimizer = FittingModule(found, settings, 1, 3).configure_optimizers()["optimizer"]
    for model, taking in ((found, optimizer), (expected, OPTIMIZERS[choice](expected.parameters()))):
        for _ in range(3):
            taking.zero_grad()
            weighted_loss(model, tokens, torch.ones(4))[0].backward()
            taking.step()
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)


# ---- dropout --------------------------------------------------------------------------------------------------------


class SameBatchTwice(Callback):
    """Passes each training batch through the network twice, and each validation batch."""

    def __init__(self):
        self.training, self.validation = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.training.append(self._differs(pl_module.network, batch["tokens"]))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validation.append(self._differs(pl_module.network, batch))

    @staticmethod
    def _differs(model, tokens):
        with torch.no_grad():
            return not torch.equal(token_losses(model, tokens), token_losses(model, tokens))


def test_dropout_is_active_in_every_training_step_and_in_no_validation_step():
    """The network comes in evaluation mode, as from_pretrained returns it, and validation sits between epochs."""
    model = network(dropout=0.1)
    assert not model.training
    seen = SameBatchTwice()
    fit(FittingModule(model, training(epochs=3), 3, 3), training(epochs=3), callbacks=[seen])
    assert seen.training == [True] * 9
    assert seen.validation == [False] * 6


def test_without_dropout_the_same_probe_sees_none():
    seen = SameBatchTwice()
    fit(FittingModule(network(dropout=0.0), training(), 2, 3), training(), callbacks=[seen])
    assert seen.training == [False] * 6


def test_scoring_is_without_dropout():
    model, rows = network(dropout=0.5), blocks(9)
    model.train()
    module = ScoringModule(model, 1, None)
    execution().trainer(()).test(module, [in_order(rows.long(), 4)], verbose=False)
    model.eval()
    with torch.no_grad():
        expected = token_losses(model, rows.long()).double().mean(1)
    assert module.scores_of(0).sequence_loss.compute().numpy() == pytest.approx(expected.numpy(), rel=1e-6)


# ---- schedule -------------------------------------------------------------------------------------------------------


class LearningRates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(settings, steps_per_epoch):
    seen = LearningRates()
    count = settings.batch_size * steps_per_epoch
    fit(FittingModule(network(), settings, settings.epochs, steps_per_epoch), settings, count, [seen])
    return seen.seen


def annealed(settings, steps, total):
    """What torch's own CosineAnnealingLR gives, one step at a time."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total, eta_min=settings.final_learning_rate)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("epochs", "final"), [(5, 1e-6), (10, 1e-6), (3, 0.0), (1, 1e-6)])
def test_the_cosine_per_epoch_is_torchs_stepped_once_an_epoch(epochs, final):
    settings = training(epochs=epochs, learning_rate=2e-5, final_learning_rate=final)
    expected = [rate for rate in annealed(settings, epochs, epochs) for _ in range(3)]
    assert rates(settings, 3) == pytest.approx(expected, rel=1e-9)


def test_the_cosine_per_step_is_torchs_stepped_at_every_step():
    settings = training(epochs=2, schedule=Choice("schedules", "cosine_per_step"))
    assert rates(settings, 3) == pytest.approx(annealed(settings, 6, 6), rel=1e-9)


def test_a_constant_rate_is_constant_after_its_warm_up():
    settings = training(epochs=2, schedule=Choice("schedules", "constant"), warmup_steps=3)
    expected = [1e-2 * share for share in (0.25, 0.5, 0.75, 1, 1, 1)]
    assert rates(settings, 3) == pytest.approx(expected, rel=1e-9)


def test_a_linear_rate_falls_in_equal_steps_to_the_final_rate():
    settings = training(epochs=2, schedule=Choice("schedules", "linear"), learning_rate=1e-2, final_learning_rate=4e-3)
    expected = [1e-2, 9e-3, 8e-3, 7e-3, 6e-3, 5e-3]
    assert rates(settings, 3) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", ["cosine_per_step", "linear"])
def test_a_schedule_never_leaves_its_range(schedule):
    settings = training(epochs=4, schedule=Choice("schedules", schedule), warmup_steps=2)
    factors = [learning_rate_factor(settings, step, 5, 4) for step in range(30)]
    assert min(factors[2:]) == pytest.approx(0.1)
    assert max(factors) <= 1
    assert factors[2:] == sorted(factors[2:], reverse=True)


# ---- shape ----------------------------------------------------------------------------------------------------------


class Vocabulary:
    pad_token_id, bos_token_id, eos_token_id = 1, 2, 2

    def __init__(self, size):
        self._size = size

    def __len__(self):
        return self._size


@pytest.mark.parametrize(
    "shape", [(16, 1, 2, 32, 20, 50), (24, 3, 4, 48, 128, 300), (64, 2, 4, 256, 128, 517)], ids=str
)
def test_the_parameter_count_is_that_of_a_real_network(shape):
    *sizes, vocabulary = shape
    architecture = ArchitectureSettings(*sizes, dropout=0.1, attention_dropout=0.0)
    built = new_network(architecture, Vocabulary(vocabulary), Stream(0, 0, "test.weights"))
    assert shape_of(architecture, vocabulary).parameters == sum(weight.numel() for weight in built.parameters())


def test_the_parameter_count_of_opt_125m():
    assert shape_of(ArchitectureSettings(768, 12, 12, 3072, 2048, 0.1, 0.0), 50272).parameters == 125_239_296


def test_a_new_network_depends_on_its_stream_only():
    architecture = ArchitectureSettings(16, 1, 2, 32, 20, 0.1, 0.0)

    def weights(seed):
        torch.manual_seed(int(torch.randint(1000, ())))
        built = new_network(architecture, Vocabulary(50), Stream(seed, 0, "test.weights"))
        return torch.cat([weight.flatten() for weight in built.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
