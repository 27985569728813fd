"""Tiny chains for the tests: the real command line, or the chain below it, at a size that takes a second."""

import io
import sys
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from modelcollapse.commands import run
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.record import read_lines
from modelcollapse.registry import KINDS, registry
from modelcollapse.settings import SettingsError, read_what_can_be

# How long a test takes says something of the machine only.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

DETERMINISTIC = (
    "generations.jsonl",
    "training.jsonl",
    "histograms.jsonl",
    "samples.jsonl",
    "provenance.jsonl",
    "perplexities.parquet",
    "continuations.md",
)
"""Files of the run folder that equal values make equal to the byte."""
EXECUTION = ("tracking=none", "trainer.threads=1", "trainer.accelerator=cpu", "trainer.checkpoint_seconds=0")
TINY_NETWORK = (
    "model.architecture.hidden_size=16",
    "model.architecture.layers=1",
    "model.architecture.heads=2",
    "model.architecture.feedforward_size=32",
)
TWO_BEAMS = (
    "decoding.kind=beam",
    "decoding.beams=2",
    "decoding.prompt_tokens=null",
    "decoding.top_p=1.0",
    "decoding.batch_size=32",
)
TINY = (
    *EXECUTION,
    "data.language.topics=2",
    "data.block_length=8",
    "data.train_blocks=60",
    "data.validation_blocks=24",
    "data.test_blocks=24",
    *TINY_NETWORK,
    "model.training.epochs=2",
    "model.training.generation0_epochs=null",
    "model.training.warmup_steps=2",
    "model.init=fresh",
    *TWO_BEAMS,
    "generations=2",
)
TINY_VAE = (
    "experiment=paper_vae",
    *EXECUTION,
    "data=digits",
    "data.train_rows=40",
    "data.validation_rows=20",
    "data.test_rows=20",
    "model.architecture.channels=2",
    "model.architecture.latents=3",
    "model.training.epochs=1",
    "model.classifier.epochs=1",
    "model.evaluation.samples=20",
    "model.evaluation.latent_samples=20",
    "model.evaluation.neighbours=2",
    "model.evaluation.shown=4",
    "generations=1",
)
TINY_SMALL_OPT = (
    *EXECUTION,
    "model=opt_small",
    "data=text_files",
    "data.block_length=8",
    "data.train_blocks=60",
    "data.evaluation_blocks=24",
    "model.tokenizer.vocabulary_size=300",
    *TINY_NETWORK,
    "model.base.maximum_blocks=150",
    "model.base.parts_per_epoch=1",
    "model.base.training.epochs=2",
    "model.base.training.warmup_steps=2",
    "model.training.epochs=2",
    "model.training.generation0_epochs=2",
    *TWO_BEAMS,
    "generations=2",
)


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code, what it said, its run folder."""

    code: int
    out: str
    err: str
    folder: Path

    def lines(self, name="generations.jsonl"):
        return read_lines(self.folder / name)

    def bytes(self, name="generations.jsonl"):
        return (self.folder / name).read_bytes()


def run_command(overrides, cwd, folder, configuration="train"):
    """Run train.py's function with these overrides in this process, as if typed in ``cwd``."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    typed, sys.argv = sys.argv, [f"{configuration}.py", *overrides]
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            getattr(run, configuration)()
    except SystemExit as leaving:
        code = leaving.code
    finally:
        sys.argv = typed
    return Finished(code, out.getvalue(), err.getvalue(), Path(folder))


def read(cls, values):
    """The settings object of a class; SettingsError with all that is wrong."""
    settings, problems = read_what_can_be(cls, values)
    if problems:
        raise SettingsError(problems)
    return settings


def composed(*overrides):
    """The plain values that the overrides compose to; settings that must be given are '???'."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(prepared_configuration(), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=True)


@dataclass(frozen=True)
class Chain:
    """A chain in this process: its settings, family and store, and what running it gave."""

    settings: object
    family: object
    store: object
    works: list
    folder: Path

    def generations(self):
        from modelcollapse.chain import chain_generations

        return chain_generations(self.settings, self.family)

    def computed(self):
        return [artifact.label for work in self.works for artifact in work.computed]

    def lines(self, name="generations.jsonl"):
        return read_lines(self.folder / name)

    def bytes(self, name="generations.jsonl"):
        return (self.folder / name).read_bytes()


def run_chain_of(overrides, store, folder, execute=True):
    """Run a chain below the command line: no report at the end, and errors come out as they are raised."""
    from modelcollapse.chain import run_chain
    from modelcollapse.families import family_for
    from modelcollapse.record import ChainIdentity, Record
    from modelcollapse.store import Store
    from modelcollapse.training.trainer import Execution, prepare_process

    values = composed(*overrides)
    settings = read_chain_settings(values)
    prepare_process(settings.trainer)
    family = family_for(settings, Execution(settings.trainer, None))
    opened = Store(store)
    works = []
    if execute:
        identity = ChainIdentity(
            "tiny",
            settings.name,
            family.name,
            family.title,
            settings.regime.name,
            settings.seed,
        )
        with Record(folder, identity, values) as record:
            works += run_chain(settings, family, opened, record)
    return Chain(settings, family, opened, works, folder)


@pytest.fixture(scope="session")
def repository():
    """The checkout that the tests belong to."""
    return ROOT


@pytest.fixture(scope="session")
def tiny():
    """Words that make the quickstart a matter of a second."""
    return TINY


@pytest.fixture(scope="session")
def compose_values():
    """Compose overrides into plain values."""
    return composed


@pytest.fixture
def train(tmp_path):
    """Run ``train.py`` with overrides in this process; the store is shared by all calls of a test."""
    folders = (tmp_path / f"run-{number}" for number in range(100))

    def run(*overrides, store=tmp_path / "store", configuration="train", folder=None):
        folder = tmp_path / folder if folder else next(folders)
        places = (f"paths.store={store}", f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'")
        return run_command([*overrides, *places], tmp_path, folder, configuration)

    return run


@contextmanager
def members_of(module):
    """The package's members and those of one test module are registered, and no other module's."""
    before = {kind: {member.name: member for member in registry(kind).members()} for kind in KINDS}
    for kind, members in before.items():
        registry(kind)._members = {name: member for name, member in members.items() if _is_at_home(member, module)}
    try:
        yield
    finally:
        for kind, members in before.items():
            registry(kind)._members = members


@pytest.fixture(autouse=True)
def registered_members(request):
    """What is registered is the package's, and what the test's own module registers."""
    with members_of(request.module.__name__):
        yield


def _is_at_home(member, module):
    place = member.implementation
    if not isinstance(place, str):
        place = getattr(place, "__module__", "modelcollapse")
    return place.startswith(("modelcollapse.", module)) or place == "modelcollapse"


@pytest.fixture
def chain(tmp_path):
    """Run a chain below the command line; the store is shared by all calls of a test."""
    folders = (tmp_path / f"chain-{number}" for number in range(100))

    def run(*overrides, store=tmp_path / "store", execute=True):
        return run_chain_of(overrides, store, next(folders), execute)

    return run


@pytest.fixture(scope="session")
def finished_chain(tmp_path_factory):
    """The tiny quickstart, run once by the command line: (what it left, its store, its overrides)."""
    place = tmp_path_factory.mktemp("finished")
    overrides = [*TINY, f"paths.store={place / 'store'}", f"hydra.run.dir={place / 'run'}"]
    return run_command(overrides, place, place / "run"), place / "store", overrides


def _sentences(count, seed):
    from modelcollapse.data.language import HiddenMarkovLanguage
    from modelcollapse.data.settings import LanguageSettings
    from modelcollapse.seeding import Stream

    language = HiddenMarkovLanguage(LanguageSettings(topics=2))
    words = language.sample(count, 12, Stream(seed, 0, "test.text").numpy())
    return "".join(" ".join(language.vocabulary[word] for word in line) + " .\n" for line in words)


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A folder with plain text: train, validation, test and base.txt."""
    folder = tmp_path_factory.mktemp("texts")
    for number, (name, lines) in enumerate({"train": 60, "validation": 30, "test": 30, "base": 150}.items()):
        (folder / f"{name}.txt").write_text(_sentences(lines, number))
    return folder


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, texts):
    """A folder as the hub has it: a tiny OPT saved by transformers, and a tokenizer in OPT's conventions."""
    from modelcollapse.data.tokenizers import train_byte_pairs

    folder = tmp_path_factory.mktemp("pretrained")
    tokenizer = train_byte_pairs((texts / "base.txt").read_text().splitlines(), 300)
    tokenizer.save_pretrained(folder)
    tiny_opt(tokenizer).save_pretrained(folder)
    return folder


def tiny_opt(tokenizer, **changed):
    """A tiny OPT with random weights for a tokenizer."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "max_position_embeddings": 130,
        "dropout": 0.1,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return OPTForCausalLM(OPTConfig(**{**shape, **changed})).eval()


@pytest.fixture(scope="session")
def small_opt_words(texts):
    """Words of a tiny chain with a base of its own, on the files of ``texts``."""
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    return (*TINY_SMALL_OPT, *files, f"model.base.text={texts / 'base.txt'}")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data beside the checkout, where there is one."""
    return SHARED_DATA


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Say below all else but the closing line that the page was seen in no browser."""
    result = yield
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if "browser" in report.keywords]
    if skipped:
        terminalreporter.write_line(
            f"The page was not tested in a browser: {len(skipped)} tests need chromium and chromedriver on the path."
        )
    return result
