"""Weights & Biases as a view: what an offline run and a stand-in server really received."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from modelcollapse.record import ChainIdentity, Record, read_lines, tracking
from modelcollapse.record.tracking import TrackingSettings
from modelcollapse.record.views import views
from modelcollapse.record.wandb_view import choose_mode

SECRET = "0123456789abcdef0123456789abcdef01234567"
CONF = Path(__file__).parents[2] / "conf"


def tell_chain(
    folder: Path, settings: TrackingSettings, generations: int, regime: str, *, replayed: bool, maim: bool = False
):
    """Write to a record all that a chain of three generations reports, as a computing or as a replaying one."""
    identity = ChainIdentity("chain-7f3a", "paper_opt", "language", "opt-125m", regime, 3, ("mine",))
    store = folder.parent / "store"
    config = {"seed": 3, "hub_token": os.environ.get("HF_TOKEN")}
    with Record(folder, identity, config, views(settings)) as record:
        for generation in range(generations):
            artifact = store / f"model-{generation}"
            artifact.mkdir(parents=True, exist_ok=True)
            (artifact / "manifest.json").write_text(json.dumps({"parents": {"data": f"data-{generation}"}}))
            (artifact / "weights.safetensors").write_bytes(b"weights")
            for epoch in range(2):
                loss = 1 / (1 + epoch + generation)
                line = {
                    "epoch": epoch,
                    "step": 10 * (epoch + 1),
                    "train/loss": loss,
                    "validation/perplexity": 30.0,
                }
                for _ in range(1 if replayed else 2):
                    record.epoch(generation, line)
            record.timing(generation, "fit", 1.5, computed=not replayed, key=f"key-{generation}")
            if maim and generation == 1:
                kill_service()
            record.generation(
                generation,
                {
                    "test/perplexity": 30.0 + generation,
                    "validation/perplexity": 31.0,
                    "undefined": float("nan"),
                },
                distributions={"reference": np.random.default_rng(generation).normal(size=50)},
                samples=[{"prompt": "The cat", "continuation": f"sat {generation}"}],
                artifacts={"model": f"key-{generation}", "score": "not-shown"},
                folders={"model": artifact, "score": artifact},
            )
        record.figure(draw(folder / "figures"))
        record.document("continuations.md", "The cat sat")


def draw(folder: Path) -> Path:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(folder / "perplexity.png")
    return folder / "perplexity.png"


def kill_service():
    children = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
    for child in children.stdout.split():
        os.kill(int(child), signal.SIGKILL)


def run_chain(
    folder: Path, *, environment=None, generations=3, regime="replace", replayed=False, maim=False, **settings
):
    """Tell a chain in a process of its own, with a home of its own; returns what it wrote on the console."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    arguments = {"folder": str(folder), "generations": generations, "regime": regime}
    arguments |= {"replayed": replayed, "maim": maim}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(arguments | {"settings": settings})],
        env={**clean, "HOME": str(home), **(environment or {})},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).strip().splitlines()


def inspect(run_folder: Path):
    """What an offline run holds, by record type, as W&B's own reader sees it."""
    (offline,) = (run_folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(offline)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records = {}
    # NaN as a word: it equals nothing, not even itself.
    for line in (json.loads(line, parse_constant=str) for line in lines):
        records.setdefault(line["type"], []).append(line[line["type"]])
    return records


def history(records):
    """Rows without the clock and the random names W&B gives a table's artifact; its content hash stays."""
    random = ("_runtime", "_timestamp", "samples.artifact_path", "samples._latest_artifact_path")
    rows = [row["item"] for row in records["history"]]
    return [{name: value for name, value in row.items() if name not in random} for row in rows]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / "run"
    secrets = {"WANDB_API_KEY": SECRET, "HF_TOKEN": SECRET[::-1], "WANDB_MODE": "offline"}
    console = run_chain(folder, environment=secrets, tags=["nightly"])
    return folder, console, inspect(folder)


def test_one_run_a_chain_under_its_id_with_group_job_type_and_tags(live):
    (run,) = live[2]["run"]
    assert run["run_id"] == "chain-7f3a"
    assert run["resume"] is True
    assert (run["project"], run["run_group"], run["job_type"]) == ("modelcollapse", "paper_opt", "language")
    assert set(run["tags"]) == {"nightly", "mine", "replace", "seed=3"}
    assert run["config"]["update"]["seed"] == 3
    assert run["config"]["update"]["identity"]["regime"] == "replace"


def test_two_axes_and_every_metric_on_one_of_them(live):
    _, _, records = live
    axes = {metric["name"]: metric.get("step_metric") for metric in records["metric"]}
    assert axes.pop("training/step") is None
    assert axes.pop("generation") is None
    assert "trainer/global_step" not in axes
    shown = {name for row in history(records) for name in row if not name.startswith(("_", "figures/"))}
    media = ("distributions/", "samples.")
    for name in shown - {"training/step", "generation"}:
        parent = next((axis for axis in axes if name == axis or name.startswith(axis + ".")), None)
        assert parent is not None or name.startswith(media), name
        assert axes[parent] == ("training/step" if name.startswith("training/") else "generation")


def test_training_axis_never_restarts_and_an_epoch_reported_twice_is_shown_once(live):
    rows = [row for row in history(live[2]) if "training/step" in row]
    assert [row["training/step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert [row["training/generation"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert rows[2]["training/train/loss"] == 0.5


def test_generation_rows_hold_what_the_record_holds(live):
    folder, _, records = live
    rows = [row for row in history(records) if "generation" in row]
    assert [row["generation"] for row in rows] == [0, 1, 2]
    assert [row["test/perplexity"] for row in rows] == [30.0, 31.0, 32.0]
    for row, kept in zip(rows, read_lines(folder / "histograms.jsonl"), strict=True):
        assert row["distributions/reference._type"] == "histogram"
        assert row["distributions/reference.values"] == kept["counts"]
        assert row["distributions/reference.bins"] == pytest.approx(kept["edges"])


def test_samples_are_one_table_over_all_generations_and_figures_are_images(live):
    folder, _, records = live
    last = [row for row in history(records) if "samples.path" in row][-1]
    (files,) = (folder / "wandb").glob("offline-run-*/files")
    table = json.loads((files / last["samples.path"]).read_text())
    assert table["columns"] == ["generation", "continuation", "prompt"]
    assert table["data"] == [[g, f"sat {g}", "The cat"] for g in range(3)]
    (image,) = [row for row in history(records) if "figures/perplexity.path" in row]
    assert (files / image["figures/perplexity.path"]).read_bytes() == (folder / "figures/perplexity.png").read_bytes()


def test_artifacts_hold_manifests_and_the_record_but_no_weights(live):
    folder, _, records = live
    artifacts = {artifact["name"]: artifact for artifact in records["artifact"]}
    models = [artifact for artifact in artifacts.values() if artifact["type"] == "model"]
    assert [artifact["name"] for artifact in models] == [f"model-key-{g}" for g in range(3)]
    for generation, artifact in enumerate(models):
        assert [entry["path"] for entry in artifact["manifest"]["contents"]] == ["manifest.json"]
        metadata = json.loads(artifact["metadata"])
        assert metadata == {"key": f"key-{generation}", "parents": {"data": f"data-{generation}"}}
        assert f"generation-{generation}" in artifact["aliases"]
    entries = artifacts["record-chain-7f3a"]["manifest"]["contents"]
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert {entry["path"] for entry in entries} == written
    assert {"generations.jsonl", "chain.json", "config.yaml", "continuations.md"} <= written


def test_no_secret_of_the_environment_in_any_file(live):
    for path in (path for path in live[0].rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert SECRET[::-1].encode() not in content, path
    assert live[2]["run"][0]["config"]["update"]["hub_token"] == "<HF_TOKEN>"


def test_console_gets_one_line(live):
    folder, console, _ = live
    (line,) = console
    assert "offline (WANDB_MODE=offline)" in line
    assert str(folder) in line
    assert not (folder.parent / "home" / "wandb").exists()


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut_short") / "run"
    run_chain(folder, generations=1, mode="offline", upload_weights=True)
    return folder, inspect(folder)


def test_weights_go_along_only_when_asked(cut_short):
    (model,) = [artifact for artifact in cut_short[1]["artifact"] if artifact["type"] == "model"]
    assert [entry["path"] for entry in model["manifest"]["contents"]] == [
        "manifest.json",
        "weights.safetensors",
    ]


def test_replayed_chain_shows_the_same_history(live, cut_short):
    # In the folder of an earlier run: what that one wrote for W&B is superseded.
    folder = cut_short[0]
    console = run_chain(folder, replayed=True, tags=["nightly"])
    assert "offline (no login found)" in console[0]
    records = inspect(folder)
    assert history(records) == history(live[2])
    assert records["metric"] == live[2]["metric"]


def test_death_of_the_service_costs_one_warning_and_nothing_else(live, tmp_path):
    console = run_chain(tmp_path / "run", maim=True, mode="offline")
    assert [line for line in console if "WARNING" in line] == console[1:2]
    for name in ("generations.jsonl", "training.jsonl", "histograms.jsonl", "samples.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (live[0] / name).read_bytes()
    assert json.loads((tmp_path / "run" / "chain.json").read_text())["status"] == "finished"


VARIABLES = {
    "WANDB_PROJECT": "lab",
    "WANDB_ENTITY": "team",
    "WANDB_NAME": "first try",
    "WANDB_RUN_GROUP": "pilots",
    "WANDB_JOB_TYPE": "debugging",
    "WANDB_TAGS": "one,two",
    "WANDB_NOTES": "what I wanted to know",
}


def names(records):
    """What a run is called on the server."""
    (run,) = records["run"]
    fields = ("project", "entity", "display_name", "run_group", "job_type", "notes")
    return [run.get(field, "") for field in fields], sorted(run["tags"])


def settings_of_the_working_folder(tmp_path):
    """What a folder from elsewhere could bring: another account, and nothing shown."""
    place = tmp_path / "home" / "wandb"
    place.mkdir(parents=True)
    (place / "settings").write_text("[default]\nentity = foreign\nproject = foreign\nmode = disabled\n")


def test_variables_of_wandb_hold_where_the_settings_say_nothing(tmp_path):
    settings_of_the_working_folder(tmp_path)
    place = tmp_path / "elsewhere"
    others = {"WANDB_DIR": str(place), "WANDB_RUN_ID": "other", "WANDB_RESUME": "never"}
    for _ in range(2):
        # The second one sends all again, and what the first one wrote is superseded there too.
        console = run_chain(tmp_path / "run", environment={**VARIABLES, **others}, generations=1)
    records = inspect(place)
    values = [value for name, value in VARIABLES.items() if name not in ("WANDB_TAGS", "WANDB_NOTES")]
    assert names(records) == ([*values, VARIABLES["WANDB_NOTES"]], ["mine", "one", "replace", "seed=3", "two"])
    assert records["run"][0]["run_id"] == "chain-7f3a"
    assert any("WANDB_RUN_ID is not used: the W&B run of a chain has the id of the chain" in line for line in console)
    assert any("settings of the working folder are not used" in line for line in console)
    noted = json.loads((tmp_path / "run" / "wandb.json").read_text())
    assert noted["from_environment"] == {**tracking.VARIABLES}
    assert (noted["run"], noted["mode"], noted["project"]) == ("chain-7f3a", "offline", "lab")
    assert Path(noted["folder"]).parent == place / "wandb"


def test_settings_win_over_variables_of_wandb_and_over_files_of_the_working_folder(tmp_path):
    settings_of_the_working_folder(tmp_path)
    environment = {name: value for name, value in VARIABLES.items() if name != "WANDB_ENTITY"}
    given = {"project": "own", "name": "a", "group": "g", "job_type": "j", "tags": ["t"], "notes": "n"}
    run_chain(tmp_path / "run", environment=environment, generations=1, regime="r" * 100, **given)
    values, tags = names(inspect(tmp_path / "run"))
    assert values == ["own", "", "a", "g", "j", "n"]
    # The regime's name is longer than a tag may be.
    (regime,) = [tag for tag in tags if tag.startswith("rrr")]
    assert len(regime) == 64
    assert sorted(set(tags) - {regime}) == ["mine", "seed=3", "t"]
    assert json.loads((tmp_path / "run" / "wandb.json").read_text())["from_environment"] == {}


class StandInServer(ThreadingHTTPServer):
    """As much of a W&B server as keeps the history and the summary of one run."""

    def __init__(self, *, refusing=False):
        super().__init__(("127.0.0.1", 0), StandInHandler)
        self.refusing = refusing
        self.history = []
        self.summary = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """The client hangs up on connections it keeps open."""

    def answer(self, operation, variables):
        names = {"id": "1", "name": "chain-7f3a", "displayName": "chain", "entity": {"id": "1", "name": "me"}}
        bucket = names | {
            "config": "{}",
            "project": {"id": "1", "name": "modelcollapse", "entity": names["entity"]},
        }
        resumable = bucket | {
            "summaryMetrics": json.dumps(self.summary),
            "historyLineCount": len(self.history),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps(self.history[-1:]),
            "eventsTail": "[]",
            "tags": [],
            "wandbConfig": '{"t": {}}',
        }
        files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in variables.get("files", [])]
        answers = {
            "RunResumeStatus": {"model": {**names, "bucket": resumable if self.history else None}},
            "UpsertBucket": {"upsertBucket": {"bucket": bucket, "inserted": not self.history}},
            "Viewer": {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}},
            "CreateRunFiles": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}},
        }
        known = answers.get(operation)
        return {"data": known} if known else {"data": None, "errors": [{"message": "not here"}]}

    def keep(self, files):
        self.history += files.get("wandb-history.jsonl", {}).get("content", [])
        for content in files.get("wandb-summary.json", {}).get("content", [])[-1:]:
            self.summary = json.loads(content)


class StandInHandler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/graphql":
            if self.server.refusing:
                return self.reply({"errors": [{"message": "no"}]}, status=403)
            asked = json.loads(body)
            operation = asked.get("operationName") or re.search(r"\w+", asked["query"])[0]
            return self.reply(self.server.answer(operation, asked.get("variables") or {}))
        if self.path.endswith("/file_stream"):
            self.server.keep(json.loads(body).get("files") or {})
        return self.reply({})

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply({})

    def reply(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_resumed_online_run_is_sent_only_what_it_does_not_hold(tmp_path):
    server = StandInServer()
    online = {"WANDB_API_KEY": SECRET, "WANDB_BASE_URL": server.url}
    (line,) = run_chain(tmp_path / "first", environment=online, generations=2)
    assert "online (logged in)" in line
    assert len(server.history) == 2 * 3 + 1
    run_chain(tmp_path / "second", environment=online, generations=3, replayed=True)
    server.shutdown()
    rows = [json.loads(row) for row in server.history]
    assert [row["generation"] for row in rows if "generation" in row] == [0, 1, 2]
    assert [row["training/step"] for row in rows if "training/step" in row] == [10, 20, 30, 40, 50, 60]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert SECRET not in json.dumps([server.history, server.summary])


def test_refusing_server_costs_one_warning_and_nothing_else(live, tmp_path):
    server = StandInServer(refusing=True)
    online = {"WANDB_API_KEY": SECRET, "WANDB_BASE_URL": server.url}
    console = run_chain(tmp_path / "run", environment=online)
    server.shutdown()
    (warning,) = console
    assert "WARNING" in warning
    assert "W&B is off" in warning
    assert (tmp_path / "run" / "generations.jsonl").read_bytes() == (live[0] / "generations.jsonl").read_bytes()


def test_online_without_a_login_warns_rather_than_asks(tmp_path):
    (warning,) = run_chain(tmp_path / "run", mode="online", generations=1)
    assert "wandb login" in warning
    assert len(read_lines(tmp_path / "run" / "generations.jsonl")) == 1


@pytest.mark.parametrize("settings", ["kind='none'", "mode='disabled'"])
def test_nothing_heavy_is_imported_where_nothing_is_shown(tmp_path, settings):
    code = f"""
import sys
from pathlib import Path
from modelcollapse import record
from modelcollapse.record import run_tables, tracking
from modelcollapse.record.tracking import TrackingSettings
from modelcollapse.record.views import views
identity = record.ChainIdentity("a", "b", "c", "d", "e", 0)
shown = views(tracking.TrackingSettings({settings}))
with record.Record(Path({str(tmp_path)!r}), identity, {{}}, shown) as writing:
    writing.generation(0, {{"x": 1}})
assert not {{"wandb", "pandas", "torch", "numpy"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("word", "mode"),
    [("offline", "offline"), ("dryrun", "offline"), ("run", "online"), ("disabled", "disabled")],
)
def test_auto_follows_wandb_mode(monkeypatch, word, mode):
    monkeypatch.setenv("WANDB_MODE", word)
    assert choose_mode(TrackingSettings()) == (mode, f"WANDB_MODE={word}")
    assert choose_mode(TrackingSettings(mode="offline")) == ("offline", "tracking.mode=offline")


def test_auto_follows_wandb_disabled_first(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_DISABLED", "True")
    assert choose_mode(TrackingSettings()) == ("disabled", "WANDB_DISABLED=True")
    monkeypatch.setenv("WANDB_DISABLED", "false")
    assert choose_mode(TrackingSettings()) == ("online", "WANDB_MODE=online")


def test_unknown_wandb_mode_is_named(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ValueError, match=r"WANDB_MODE=ofline.*offline"):
        choose_mode(TrackingSettings())


@pytest.mark.parametrize("kind", ["wandb", "none"])
def test_configuration_files_hold_the_defaults(kind):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_container(compose(overrides=[f"+tracking={kind}"]).tracking)
    assert composed == {**asdict(TrackingSettings(kind=kind)), "tags": []}


def test_of_a_long_chain_some_generations_are_shown_and_all_are_recorded(train):
    overrides = ("experiment=paper_gaussian", "generations=600", "data.rows=100", "model.replicates=2")
    finished = train(*overrides, "tracking.mode=offline")
    assert finished.code == 0, finished.err
    shown = [row["generation"] for row in history(inspect(finished.folder)) if "generation" in row]
    assert shown == sorted(set(shown))
    assert shown[:40] == list(range(40))
    assert shown[-1] == 600
    assert 200 < len(shown) <= 500
    assert [line["generation"] for line in finished.lines()] == list(range(601))


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    arguments = json.loads(sys.argv[1])
    tell_chain(
        Path(arguments["folder"]),
        TrackingSettings(**arguments["settings"]),
        arguments["generations"],
        arguments["regime"],
        replayed=arguments["replayed"],
        maim=arguments["maim"],
    )
