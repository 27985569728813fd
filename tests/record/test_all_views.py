"""CSV, TensorBoard and Weights & Biases at once: the same numbers in each, also after a kill."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from event_files import Events
from test_wandb_view import history, inspect

from conftest import TINY, run_command
from modelcollapse.record import ChainIdentity, Record, number, read_lines, views
from modelcollapse.record.tracking import TrackingSettings
from modelcollapse.registry import Choice

LOGGERS = [Choice("loggers", name) for name in ("csv", "tensorboard", "wandb")]
NO_METRICS = ("generation", "seed", "regime")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A tiny chain of language models, shown to all three."""
    place = tmp_path_factory.mktemp("shown")
    execution = [word for word in TINY if word != "tracking=none"]
    words = [*execution, "logger=[csv,tensorboard,wandb]", "tracking.mode=offline", f"hydra.run.dir={place / 'run'}"]
    finished = run_command([*words, f"paths.store={place / 'store'}"], place, place / "run")
    assert finished.code == 0, finished.err
    return finished.folder


def recorded(folder):
    """(name, generation) -> metric, and (name, step) -> number of an epoch, of the record itself."""
    metrics = {
        (name, line["generation"]): number(value)
        for line in read_lines(folder / "generations.jsonl")
        for name, value in line.items()
        if name not in NO_METRICS
    }
    epochs = {
        (f"training/{name}", line["cumulative_step"]): number(value)
        for line in read_lines(folder / "training.jsonl")
        for name, value in line.items()
        if name not in ("step", "cumulative_step")
    }
    return metrics, epochs


def of_csv(folder):
    paths = (folder / f"{name}.csv" for name in ("generations", "training"))
    generations, training = (pd.read_csv(path, float_precision="round_trip") for path in paths)
    epochs = by_place(training.drop(columns="step"), "cumulative_step")
    return by_place(generations, "generation"), {(f"training/{name}", step): v for (name, step), v in epochs.items()}


def by_place(table, axis):
    assert table[axis].is_unique
    values = table.set_index(axis).stack(future_stack=True)
    return {(name, step): value for (step, name), value in values.items()}


def of_tensorboard(folder):
    scalars = Events(folder).scalars()
    epochs = {place: value for place, value in scalars.items() if place[0].startswith("training/")}
    return {place: value for place, value in scalars.items() if place not in epochs}, epochs


def of_wandb(folder):
    metrics, epochs = {}, {}
    for row in history(inspect(folder)):
        numbers = {name: float(value) for name, value in row.items() if is_number(value) and not name.startswith("_")}
        if "training/step" in row:
            step = int(numbers.pop("training/step"))
            assert not any((name, step) in epochs for name in numbers)
            epochs |= {(name, step): value for name, value in numbers.items()}
        elif "generation" in row:
            generation = int(numbers.pop("generation"))
            assert not any((name, generation) in metrics for name in numbers)
            metrics |= {(name, generation): value for name, value in numbers.items() if "." not in name}
    return metrics, epochs


def is_number(value):
    return value == "NaN" or (isinstance(value, int | float) and not isinstance(value, bool))


def assert_same(found, expected, *, single=False):
    """Equal places and equal numbers, to the last bit or as single precision holds them."""
    assert set(found) == set(expected)
    for place, value in expected.items():
        wanted = float(np.float32(value)) if single else value
        assert found[place] == wanted or (math.isnan(found[place]) and math.isnan(wanted)), place


def test_each_of_them_holds_the_numbers_of_the_record(shown):
    metrics, epochs = recorded(shown)
    assert {generation for _, generation in metrics} == {0, 1, 2}
    assert len(epochs) > 10
    for read, single in ((of_csv, False), (of_tensorboard, True), (of_wandb, False)):
        found = read(shown)
        assert_same(found[0], metrics, single=single)
        assert_same(found[1], epochs, single=single)


def test_tensorboard_holds_distributions_samples_figures_and_settings(shown):
    events = Events(shown)
    drawn = read_lines(shown / "histograms.jsonl")
    assert set(events.histograms()) == {f"distributions/{line['name']}" for line in drawn}
    for line in drawn:
        (event,) = [
            one for one in events.histograms()[f"distributions/{line['name']}"] if one.step == line["generation"]
        ]
        assert event.histogram_value.bucket[1:] == line["counts"]
        assert event.histogram_value.bucket_limit == line["edges"]
    samples = read_lines(shown / "samples.jsonl")
    texts = events.texts("samples")
    assert set(texts) == {0, 1, 2}
    for sample in samples:
        assert f"    {sample['continuation'].splitlines()[0]}" in texts[sample["generation"]]
    images = events.images()
    drawn_files = {f"figures/{path.stem}": path for path in (shown / "figures").glob("*.png")}
    assert set(images) == set(drawn_files)
    for name, path in drawn_files.items():
        (image,) = images[name]
        assert image.encoded_image_string == path.read_bytes()
        assert image.width > 100
    settings = events.settings()
    assert (settings["seed"], settings["regime.name"], settings["trainer.progress"]) == (0, "replace", True)


def write_chain(folder, generations, *, killed):
    """Record a chain of so many generations; one that is killed dies in the midst of the next."""
    identity = ChainIdentity("chain-51c0", "e", "language", "m", "replace", 0)
    with Record(folder, identity, {"seed": 0}, views(TrackingSettings(mode="offline"), LOGGERS)) as record:
        for generation in range(generations + killed):
            for epoch in range(2):
                record.epoch(generation, {"epoch": epoch, "step": 5 * (epoch + 1), "train/loss": 1 / (1 + epoch)})
            if killed and generation == generations:
                os.kill(os.getpid(), signal.SIGKILL)
            record.generation(generation, {"test/perplexity": 30.1 + generation, "undefined": math.nan})


def run(folder, generations, killed=False):
    arguments = json.dumps([str(folder), generations, killed])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**clean, "HOME": str(folder.parent), "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, __file__, arguments], env=environment, cwd=folder.parent, capture_output=True, text=True
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr


def test_a_chain_that_was_killed_and_goes_on_is_whole_in_each_of_them(tmp_path):
    folder = tmp_path / "run"
    run(folder, 1, killed=True)
    # Of the killed one: what it had finished can be read.
    assert {generation for _, generation in of_tensorboard(folder)[0]} == {0}
    assert {generation for _, generation in of_csv(folder)[0]} == {0}
    foreign = folder / "tensorboard" / "notes.txt"
    foreign.write_text("mine")
    run(folder, 3)
    metrics, epochs = recorded(folder)
    assert {generation for _, generation in metrics} == {0, 1, 2}
    for read, single in ((of_csv, False), (of_tensorboard, True), (of_wandb, False)):
        found = read(folder)
        assert_same(found[0], metrics, single=single)
        assert_same(found[1], epochs, single=single)
    assert foreign.read_text() == "mine"


def test_tensorboard_that_cannot_write_is_warned_of_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("a file in the place of the folder")
    chosen = views(TrackingSettings(kind="none"), [Choice("loggers", "tensorboard")])
    with Record(tmp_path, ChainIdentity("c", "e", "f", "m", "replace", 0), {}, chosen) as record:
        record.generation(0, {"x": 1.0})
    (warning,) = [message.getMessage() for message in caplog.records]
    assert warning.startswith("TensorBoard is off from here on")
    assert read_lines(tmp_path / "generations.jsonl")[0]["x"] == 1.0


if __name__ == "__main__":
    folder, generations, killed = json.loads(sys.argv[1])
    write_chain(Path(folder), generations, killed=killed)
