"""Settings of Weights & Biases, and the ``WANDB_*`` variables that stand in for those that were not given.

A setting wins over its variable, a variable over the default. W&B's own limits are checked here, with all other
settings and before anything is written; names that are made of an experiment's or a regime's are shortened to them.
Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from modelcollapse.credentials import secret_problems
from modelcollapse.settings import FILES, Characters, SettingsError, read_what_can_be

Mode = Literal["online", "offline", "disabled"]

LONGEST_NAME, LONGEST_TAG = 128, 64
"""Characters that W&B's server takes: of projects, runs and groups, and of tags and job types."""
NAME, TAG = Characters(LONGEST_NAME), Characters(LONGEST_TAG)
PROJECT = Characters(LONGEST_NAME, without="/\\#?%:")
DEFAULT_PROJECT = "modelcollapse"

MODE_VARIABLE = "WANDB_MODE"
DISABLED_VARIABLE = "WANDB_DISABLED"
"""Variable of transformers' Trainer."""
TRUE = ("1", "on", "yes", "true")
MODES: Mapping[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""Words of WANDB_MODE."""
VARIABLES: Mapping[str, str] = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
    "notes": "WANDB_NOTES",
    "folder": "WANDB_DIR",
}
"""Setting -> variable that holds where the setting is not given."""
AGENT_VARIABLE = "WANDB_SWEEP_ID"
"""Environment variable that is set in processes which an agent of a W&B sweep starts."""
_OWN_RUN = "the W&B run of a chain has the chain's own id, and begins in no other run; unset it"
REFUSED: Mapping[str, str] = {"WANDB_FORK_FROM": _OWN_RUN, "WANDB_RESUME_FROM": _OWN_RUN}
"""Variables that begin a run in the midst of another one, which W&B refuses beside the stable id of a chain."""
UNUSED: Mapping[str, str] = {
    "WANDB_RUN_ID": "the W&B run of a chain has the id of the chain",
    "WANDB_RESUME": "the same chain goes on in its W&B run",
    "WANDB_LOG_MODEL": "tracking.upload_weights=true uploads weights",
    "WANDB_WATCH": "callbacks log gradients, see docs/extending.md",
}
"""Variables of W&B and of its integrations that do nothing here -> what is done instead."""


@dataclass(frozen=True)
class TrackingSettings:
    """Weights & Biases as a view of the run's own files."""

    kind: Literal["wandb", "none"] = "wandb"
    """``wandb`` for Weights & Biases, ``none`` for the run's own files only."""
    project: Annotated[str, PROJECT] | None = None
    """W&B project; ``WANDB_PROJECT``, else ``modelcollapse``, when null."""
    entity: str | None = None
    """W&B user or team; ``WANDB_ENTITY``, else the login's own, when null."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """``auto`` follows ``WANDB_MODE``, else is online when there is a login and offline when there is none."""
    name: Annotated[str, NAME] | None = None
    """Name of the W&B run; ``WANDB_NAME``, else experiment, regime and seed, when null."""
    group: Annotated[str, NAME] | None = None
    """W&B group of the run; ``WANDB_RUN_GROUP``, else the experiment's name, when null."""
    job_type: Annotated[str, TAG] | None = None
    """W&B job type of the run; ``WANDB_JOB_TYPE``, else the model family, when null."""
    tags: tuple[Annotated[str, TAG], ...] = ()
    """W&B tags, besides the chain's regime and seed; those of ``WANDB_TAGS`` (with commas) when empty."""
    notes: str | None = None
    """W&B notes; ``WANDB_NOTES`` when null."""
    upload_weights: bool = False
    """Whether W&B artifacts hold whole artifacts, weights and text included, rather than manifests only."""
    folder: Annotated[Path, FILES] | None = None
    """Where W&B keeps its files (in a ``wandb`` folder); ``WANDB_DIR``, else the run folder, when null."""


def with_environment(settings: TrackingSettings) -> tuple[TrackingSettings, dict[str, str]]:
    """The settings with ``WANDB_*`` in the place of those that were not given, and setting -> variable of these.

    Raises SettingsError where a variable is invalid; a run checks that before it begins.
    """
    found = {name: value for name, value in _environment().items() if not getattr(settings, name)}
    held, problems = read_what_can_be(TrackingSettings, found, "WANDB_*")
    if problems:
        raise SettingsError(problems)
    filled: dict[str, Any] = {name: getattr(held, name) for name in found}
    return replace(settings, **filled), {name: VARIABLES[name] for name in found}


def _environment() -> dict[str, Any]:
    """The values of the variables, as settings are typed; empty ones stand for none."""
    found: dict[str, Any] = {name: os.environ.get(variable) for name, variable in VARIABLES.items()}
    found["tags"] = [tag for tag in map(str.strip, (found["tags"] or "").split(",")) if tag]
    return {name: value for name, value in found.items() if value}


def tracking_problems(settings: TrackingSettings) -> list[str]:
    """What is wrong with the ``WANDB_*`` variables that hold; nothing where W&B is not used."""
    if settings.kind == "none" or settings.mode == "disabled":
        return []
    problems = []
    try:
        mode = mode_of_environment()
    except ValueError as error:
        mode, problems = None, [str(error)]
    if settings.mode == "auto" and mode is not None and mode[0] == "disabled":
        return []
    for name, value in _environment().items():
        if not getattr(settings, name):
            problems += secret_problems(value, VARIABLES[name])
            problems += read_what_can_be(TrackingSettings, {name: value}, f"{VARIABLES[name]}, for tracking")[1]
    return problems + [f"{variable}: {say}" for variable, say in REFUSED.items() if os.environ.get(variable)]


def mode_of_environment() -> tuple[Mode, str] | None:
    """The mode that WANDB_MODE or WANDB_DISABLED names, and which of them; None where neither is set.

    Raises:
        ValueError: WANDB_MODE holds a word that is no mode.
    """
    if os.environ.get(DISABLED_VARIABLE, "").lower() in TRUE:
        return "disabled", f"{DISABLED_VARIABLE}={os.environ[DISABLED_VARIABLE]}"
    word = os.environ.get(MODE_VARIABLE)
    if not word:
        return None
    if word not in MODES:
        raise ValueError(f"{MODE_VARIABLE}={word}; it may be one of {', '.join(MODES)}")
    return MODES[word], f"{MODE_VARIABLE}={word}"


def is_under_agent() -> bool:
    """Whether an agent of a W&B sweep started this process, and names the W&B run."""
    return AGENT_VARIABLE in os.environ


def unused_variables() -> Iterator[str]:
    """The variables that are set and do nothing here, a message each."""
    for variable, instead in UNUSED.items():
        if os.environ.get(variable) and not (is_under_agent() and variable == "WANDB_RUN_ID"):
            yield f"{variable} is not used: {instead}"


def fitting(text: str, most: int) -> str:
    """The text, or as much of it as W&B takes, with a digest of all of it at the end."""
    return text if len(text) <= most else f"{text[: most - 9]}-{sha256(text.encode()).hexdigest()[:8]}"


def fitting_tags(tags: Sequence[str]) -> list[str]:
    """The tags that a chain and its user give a run, each once."""
    return list(dict.fromkeys(fitting(tag, LONGEST_TAG) for tag in tags if tag))
