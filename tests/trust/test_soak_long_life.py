"""Long chains in one process: memory, open files and the time per generation do not grow."""

import statistics
import time

import pytest
from tiny_chains import CHAINS

from conftest import TINY, composed
from modelcollapse.config.settings import read_chain_settings
from processes import memory_and_files, soak_size

MEGABYTE = 2**20


def measured(overrides, folder):
    """Memory, open files and processor seconds after each generation, as a chain goes on."""
    from modelcollapse.chain import run_chain
    from modelcollapse.families import family_for
    from modelcollapse.record import ChainIdentity, Record
    from modelcollapse.store import Store
    from modelcollapse.training.trainer import Execution, prepare_process

    values = composed(*overrides)
    settings = read_chain_settings(values)
    prepare_process(settings.trainer)
    family = family_for(settings, Execution(settings.trainer, None))
    identity = ChainIdentity("long", settings.name, family.name, family.title, settings.regime.name, settings.seed)
    rows = []
    with Record(folder / "run", identity, values) as record:
        for _ in run_chain(settings, family, Store(folder / "store"), record):
            rows.append((*memory_and_files(), time.process_time()))
    return rows


def check_growth(rows, segment):
    """Compare the second quarter with the last: the first is for warming up."""
    quarter = len(rows) // 4
    memory, files, seconds = zip(*rows, strict=True)
    early, late = slice(quarter, 2 * quarter), slice(-quarter, None)
    growth = statistics.median(memory[late]) - statistics.median(memory[early])
    assert growth < 16 * MEGABYTE, f"{growth / MEGABYTE:.0f} MB more"
    assert max(files[late]) <= max(files[early]), (max(files[late]), max(files[early]))
    each = [after - before for before, after in zip(seconds[:-segment], seconds[segment:], strict=True)]
    slower = statistics.median(each[late]) / statistics.median(each[early])
    print(
        f"{len(rows)} generations: {growth / MEGABYTE:.1f} MB more, {max(files)} files, {slower:.3f} times the seconds"
    )
    assert slower < 1.25


def test_a_chain_of_eighty_gaussians_does_not_grow(tmp_path):
    check_growth(measured((*CHAINS["gaussian"], "generations=80"), tmp_path), segment=2)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_thousand_mixtures_in_one_process(tmp_path):
    generations = soak_size("SOAK_MIXTURES", 2000)
    overrides = (*CHAINS["gaussian_mixture"], f"generations={generations}", "data.rows=200", "model.segment_length=20")
    check_growth(measured(overrides, tmp_path), segment=20)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_hundred_language_models_in_one_process(tmp_path):
    overrides = (*TINY, f"generations={soak_size('SOAK_LANGUAGE_MODELS', 200)}", "store.keep=ends", "decoding=sample")
    check_growth(measured(overrides, tmp_path), segment=1)
