"""Weights & Biases as a view of the run's own files.

One W&B run a chain, under the chain's stable id, grouped by experiment. Epochs are drawn against
``training/step``, which never restarts within a chain, everything else against ``generation``. The view is
written from the record (:mod:`modelcollapse.record`), so a chain replayed from the store shows the same
history as one that was computed; a run that is resumed on the server is sent only what it does not hold yet.

As with every view, a failure of W&B never stops a chain (:mod:`modelcollapse.record.views`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelcollapse.credentials import without_secrets
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.record.identity import IMAGE_SUFFIXES
from modelcollapse.record.tracking import (
    DEFAULT_PROJECT,
    LONGEST_NAME,
    LONGEST_TAG,
    Mode,
    TrackingSettings,
    fitting,
    fitting_tags,
    is_under_agent,
    mode_of_environment,
    unused_variables,
    with_environment,
)
from modelcollapse.store.files import write_whole

if TYPE_CHECKING:
    import wandb

    from modelcollapse.record import ChainIdentity, Histogram, Status


logger = logging.getLogger(__name__)

EXIT_CODES: Mapping[str, int] = {"finished": 0, "failed": 1, "interrupted": 130}
ARTIFACT_ROLES = ("model", "synthetic")
RECORD_SUFFIXES = (".yaml", ".json", ".jsonl", ".parquet", ".md")
WANDB_FILE = "wandb.json"
"""File of the run folder: id, mode, project, group, name, tags and address of the W&B run, where its files are, and
which of these are from ``WANDB_*``."""
WORKING_FOLDER_SETTINGS = ("wandb/settings", ".wandb/settings")
"""Files in which W&B keeps settings of a folder; they are not read."""
MOST_ROWS = 500
"""Generations shown of a longer chain: W&B's charts draw no more points, and a row takes as long as a cheap fit."""
INIT_TIMEOUT_SECONDS = 20.0
FINISH_TIMEOUT_SECONDS = 600.0


def choose_mode(settings: TrackingSettings) -> tuple[Mode, str]:
    """Decide whether W&B runs online; asks no server.

    Returns:
        The mode, and why in a few words.

    Raises:
        ValueError: WANDB_MODE holds a word that is no mode.
    """
    if settings.mode != "auto":
        return settings.mode, f"tracking.mode={settings.mode}"
    return mode_of_environment() or (("online", "logged in") if has_login() else ("offline", "no login found"))


def has_login() -> bool:
    """Whether W&B finds credentials (WANDB_API_KEY, identity token, netrc, its settings); asks no server."""
    import wandb

    _silence()
    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.errors.AuthenticationError as error:
        logger.warning("W&B: %s", error)
        return False


class WandbView:
    """A :class:`~modelcollapse.record.View` that shows a run in Weights & Biases.

    Shown are, against ``training/step``, every number of ``training.jsonl`` as ``training/<name>``; against
    ``generation``, every metric under its own name, ``distributions/<name>`` as histograms and ``samples``,
    one table of all generations so far; figures as images; a ``model`` and a ``synthetic`` artifact for
    each artifact, with its manifest and the keys of its parents; at the end a ``record`` artifact with the
    run's files. Of a chain longer than :data:`MOST_ROWS` generations only so many are shown, evenly on a logarithmic
    scale, the first and the last among them. System statistics and console output are not captured: the record does
    not hold them.

    Args:
        settings: What to show and where.
    """

    label = "W&B"

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings
        self._run: wandb.Run | None = None
        self._folder = Path()
        self._identity: ChainIdentity | None = None
        self._rows: set[int] | None = None
        self._shown_generation = -1.0
        self._shown_step = -1.0
        self._axes: set[str] = set()
        self._samples: list[dict[str, Any]] = []
        self._shown_artifacts: set[str] = set()
        self._seconds: Counter[str] = Counter()

    def start(self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any]) -> None:
        """Start the W&B run, and log in one line where it is shown."""
        self._folder, self._identity = folder.resolve(), identity
        self._rows = shown_generations(int(config["generations"]), MOST_ROWS) if "generations" in config else None
        self._run = started_run(
            self._settings,
            self._folder,
            id=identity.id,
            name=f"{identity.experiment} {identity.regime} seed={identity.seed}",
            group=identity.experiment,
            job_type=identity.family,
            tags=(*identity.tags, identity.regime, f"seed={identity.seed}"),
            config={**config, "identity": asdict(identity)},
        )
        if self._run is not None:
            self._shown_generation = already_shown(self._run, "generation")
            self._shown_step = already_shown(self._run, "training/step")

    def epoch(self, line: Mapping[str, float]) -> None:
        """Show one epoch."""
        if self._run is None or line["cumulative_step"] <= self._shown_step:
            return
        row = {f"training/{name}": value for name, value in line.items() if name != "step"}
        row["training/step"] = row.pop("training/cumulative_step")
        self._log(row, axis="training/step")

    def timing(self, line: Mapping[str, Any]) -> None:
        """Add up the seconds of the stages that were computed now, for the summary of the run."""
        if line["computed"]:
            self._seconds[line["stage"]] += line["seconds"]

    def generation(
        self,
        generation: int,
        metrics: Mapping[str, float],
        *,
        histograms: Mapping[str, Histogram],
        samples: Sequence[Mapping[str, Any]],
        artifacts: Mapping[str, str],
        folders: Mapping[str, Path],
    ) -> None:
        """Show one finished generation in one row, and its artifacts as artifacts of W&B."""
        self._samples += [{"generation": generation, **sample} for sample in samples]
        if self._run is None or generation <= self._shown_generation or self._is_left_out(generation):
            return
        row = {"generation": generation, **metrics, **_drawn(histograms)}
        if samples:
            row["samples"] = _sample_table(self._samples)
        self._log(row, axis="generation")
        for role in ARTIFACT_ROLES:
            if role in artifacts and role in folders:
                self._show_artifact(generation, role, artifacts[role], folders[role])

    def _is_left_out(self, generation: int) -> bool:
        return self._rows is not None and generation not in self._rows

    def figure(self, path: Path) -> None:
        """Show an image; other formats, such as PDF, stay in the run folder."""
        if self._run is not None and path.suffix.lower() in IMAGE_SUFFIXES:
            import wandb

            self._run.log({f"figures/{path.stem}": wandb.Image(str(path))})

    def finish(self, status: Status) -> None:
        """Keep the run's files as an artifact and end the W&B run."""
        if self._run is None:
            return
        try:
            self._run.summary.update({"status": status})
            self._run.summary.update({f"seconds/{stage}": sum_ for stage, sum_ in self._seconds.items()})
            self._show_record()
        finally:
            self._run.finish(exit_code=EXIT_CODES[status])
            self._run = None

    def _log(self, row: Mapping[str, Any], *, axis: str) -> None:
        assert self._run is not None
        for name in (axis, *row):
            if name not in self._axes:
                self._axes.add(name)
                self._run.define_metric(name, step_metric=None if name == axis else axis)
        self._run.log(dict(row))

    def _show_artifact(self, generation: int, role: str, key: str, folder: Path) -> None:
        """Show an artifact of the store once; chains that share it show the same artifact."""
        import wandb

        manifest = folder / "manifest.json"
        if self._run is None or key in self._shown_artifacts or not manifest.is_file():
            return
        self._shown_artifacts.add(key)
        parents = json.loads(manifest.read_text(encoding="utf-8")).get("parents", {})
        artifact = wandb.Artifact(f"{role}-{key[:32]}", type=role, metadata={"key": key, "parents": parents})
        files = sorted(folder.rglob("*")) if self._settings.upload_weights else [manifest]
        # Copied, because the store may reclaim the artifact before W&B has uploaded it.
        add_files(artifact, folder, files, copied=True)
        self._run.log_artifact(artifact, aliases=[f"generation-{generation}"])

    def _show_record(self) -> None:
        import wandb

        assert self._run is not None
        assert self._identity is not None
        artifact = wandb.Artifact(f"record-{self._identity.id}", type="record")
        files = sorted(path for path in self._folder.iterdir() if path.suffix in RECORD_SUFFIXES)
        add_files(artifact, self._folder, files, copied=False)
        self._run.log_artifact(artifact)


def started_run(
    settings: TrackingSettings,
    folder: Path,
    *,
    id: str,
    name: str,
    group: str,
    job_type: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
) -> wandb.Run | None:
    """Start a run as settings and ``WANDB_*`` say, and log in one line where it is shown; None where W&B is disabled.

    ``name``, ``group`` and ``job_type`` are used where neither names them, ``tags`` are added. Under an agent of a W&B
    sweep the agent names run, project and entity. What was chosen is written into ``folder``, see :data:`WANDB_FILE`.
    """
    mode, reason = choose_mode(settings)
    if mode == "disabled":
        logger.info("W&B: disabled (%s)", reason)
        return None
    _silence(mode)
    if mode == "online" and not has_login():
        raise RuntimeError(f"online ({reason}) needs a login, by `wandb login` or WANDB_API_KEY")
    import wandb

    settings, variables = with_environment(settings)
    place, under_agent = settings.folder or folder, is_under_agent()
    place.mkdir(parents=True, exist_ok=True)
    _drop_earlier_offline_runs(folder, id)
    run = wandb.init(
        project=None if under_agent else settings.project or DEFAULT_PROJECT,
        entity=None if under_agent else settings.entity,
        mode=mode,
        dir=place,
        id=None if under_agent else id,
        resume=None if under_agent else "allow",
        # Chains of a sweep may follow each other, or run side by side, in one process.
        reinit="create_new",
        name=settings.name or fitting(name, LONGEST_NAME),
        group=settings.group or fitting(group, LONGEST_NAME),
        job_type=settings.job_type or fitting(job_type, LONGEST_TAG),
        tags=fitting_tags([*settings.tags, *tags]),
        notes=settings.notes,
        config=dict(config),
        allow_val_change=True,
        settings=wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,
            init_timeout=INIT_TIMEOUT_SECONDS,
            finish_timeout=FINISH_TIMEOUT_SECONDS,
        ),
    )
    logger.info("W&B: %s (%s), %s", mode, reason, run.url if mode == "online" else Path(run.dir).parent)
    _write_run(folder, run, mode, reason, variables)
    return run


def _write_run(folder: Path, run: wandb.Run, mode: Mode, reason: str, variables: Mapping[str, str]) -> None:
    """Write what the run is called on the server, and log what of the environment is not used."""
    content = {
        "run": run.id,
        "mode": mode,
        "mode_because": reason,
        **{name: getattr(run, name) for name in ("project", "entity", "group", "name", "job_type", "tags", "notes")},
        "url": run.url,
        "folder": str(Path(run.dir).parent),
        "from_environment": dict(variables),
    }
    write_whole(folder / WANDB_FILE, (json.dumps(without_secrets(content), indent=2) + "\n").encode())
    for message in unused_variables():
        logger.info("W&B: %s", message)
    if any(Path(name).is_file() for name in WORKING_FOLDER_SETTINGS):
        logger.info("W&B: settings of the working folder are not used; set tracking.* or WANDB_*")


def _silence(mode: Mode | None = None) -> None:
    """Keep W&B's own lines off the console: what matters of them is logged here."""
    import wandb

    with _no_settings_of_the_working_folder():
        # The mode as well, where it is decided: wandb.login refuses under an old WANDB_MODE=offline.
        wandb.setup(wandb.Settings(silent=True, mode=mode) if mode else wandb.Settings(silent=True))


@contextmanager
def _no_settings_of_the_working_folder() -> Iterator[None]:
    """Within the block W&B reads the settings file of the user, and none of the working folder.

    ``wandb/settings`` of a folder from elsewhere could name another project, mode or server. W&B reads it when it is
    set up, and has no setting against that.
    """
    from wandb.sdk.lib.settings_file import SettingsFiles
    from wandb.sdk.wandb_settings import Settings

    def of_the_user(settings: Settings) -> SettingsFiles:
        own = settings.settings_system
        return SettingsFiles(global_settings=Path(own) if own else None, local_settings=Path(os.devnull))

    original = Settings.read_system_settings
    Settings.read_system_settings = of_the_user  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Settings.read_system_settings = original  # type: ignore[method-assign]


def already_shown(run: wandb.Run, axis: str) -> float:
    """How far along an axis a run already is on the server; -1 for a new one and offline."""
    return float(run.summary.get(axis, -1)) if run.resumed else -1.0


def _drop_earlier_offline_runs(folder: Path, identifier: str) -> None:
    """Remove what an earlier, perhaps killed, run of the chain in this folder wrote: this one sends all of it again."""
    pattern = f"offline-run-*-{identifier}"
    earlier = list((folder / "wandb").glob(pattern))
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = Path(json.loads((folder / WANDB_FILE).read_text(encoding="utf-8"))["folder"])
        earlier += [noted] if noted.match(pattern) and (noted / f"run-{identifier}.wandb").is_file() else []
    for run in dict.fromkeys(earlier):
        shutil.rmtree(run, ignore_errors=True)


def _drawn(histograms: Mapping[str, Histogram]) -> dict[str, Any]:
    import numpy as np
    import wandb

    return {
        f"distributions/{name}": wandb.Histogram(np_histogram=(np.array(drawn.counts), np.array(drawn.edges)))
        for name, drawn in histograms.items()
    }


def _sample_table(samples: Sequence[Mapping[str, Any]]) -> wandb.Table:
    import wandb

    columns: list[str | int] = [
        "generation",
        *sorted({name for sample in samples for name in sample} - {"generation"}),
    ]
    return wandb.Table(columns=columns, data=[[sample.get(str(name)) for name in columns] for sample in samples])


def add_files(artifact: wandb.Artifact, folder: Path, files: Sequence[Path], *, copied: bool) -> None:
    """Add files under their names within a folder: uploaded from where they lie, or from a copy W&B makes."""
    for path in files:
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            policy: Literal["mutable", "immutable"] = "mutable" if copied else "immutable"
            artifact.add_file(str(path), name=name, policy=policy, skip_cache=True)
