"""What a composed configuration may not hold: settings are data, and call no code, whatever they are wrapped in.

Hydra makes objects of what its callbacks, its launcher, its sweeper and its logging name by ``_target_``, ``()`` or
``class``, before the job begins; a configuration from elsewhere could name any function. Here they are limited to
Hydra's own and its installed plugins'. The settings of the project itself are never made into objects that way.

The other ways of a configuration to reach code are closed too: resolvers but for those that look something up,
environment variables of a job that an interpreter or a loader obeys, and shell commands of a launcher that stand in a
file. A launcher's shell commands may be typed.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelcollapse.config.interpolations import NamedResolver, ReferenceTooLarge, named_resolvers

PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
"""Where Hydra's launchers and sweepers are; Hydra itself makes objects of classes that are plugins only."""
PLUGIN_PLACES = ("hydra.launcher._target_", "hydra.sweeper._target_")
SAMPLER_PLACE, SAMPLERS = "hydra.sweeper.sampler._target_", re.compile(r"optuna\.samplers\.[A-Za-z]+Sampler")
"""Of the optimising sweeper, which chooses the next trials."""
SEARCH_CODE = "hydra.sweeper.custom_search_space"
"""A setting of the optimising sweeper that names a function."""
LOGGING_PLACES = ("hydra.job_logging.", "hydra.hydra_logging.")
LOGGING_CLASSES = (
    "logging.FileHandler",
    "logging.Formatter",
    "logging.NullHandler",
    "logging.StreamHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
)
"""Others of the module call what their arguments name."""
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
RUN_FOLDER = re.compile(r"\$\{hydra[.:]runtime\.output_dir\}")
ENVIRONMENT_PLACE = "hydra.job.env_set."
ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "GLOO_SOCKET_IFNAME",
    "HF_DATASETS_OFFLINE",
    "HF_HUB_OFFLINE",
    "HIP_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "NCCL_DEBUG",
    "NCCL_SOCKET_IFNAME",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "WANDB_MODE",
    "WANDB_SILENT",
)
"""Variables that settings may give to a job: none makes an interpreter or a library load a file."""
SHELL_PLACES = ("hydra.launcher.setup", "hydra.launcher.additional_parameters")
"""What a SLURM launcher hands to a shell or to sbatch."""
READ_VARIABLES = ("MODELCOLLAPSE_STORE",)
"""Environment variables that settings read by ``oc.env``."""
RESOLVERS = ("hydra", "now", "python_version")
"""What may be asked for by ``${name:...}`` besides ``oc.env``: Hydra's own, which look something up."""
CHDIR_PLACE = "hydra.job.chdir"
ECHOES = ("hydra.overrides", "hydra.job.override_dirname")
"""What was typed, once more: every part of it is checked in its own place."""


MOST_SHOWN = 60


@dataclass(frozen=True)
class Refused:
    """Stands for the value of a reference that is not followed: its resolver is not there, or it would never end."""

    reason: str


def foreign_code(values: Any, path: str = "", typed: Collection[str] = ()) -> Iterator[str]:
    """Everything in a composed configuration that could make somebody call code, a message each.

    ``typed`` holds the settings of Hydra that stand on the command line, not in a file.
    """
    for name, value in _items(values):
        place = f"{path}.{name}" if path else str(name)
        if place in ECHOES:
            continue
        if problem := _problem(place, str(name), value, typed):
            yield problem
        else:
            yield from foreign_code(value, place, typed)


def _items(values: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(values, Mapping):
        yield from values.items()
    elif isinstance(values, Sequence) and not isinstance(values, str):
        yield from enumerate(values)


def _problem(place: str, name: str, value: Any, typed: Collection[str]) -> str | None:
    if isinstance(value, Refused):
        return f"{place}: {value.reason}"
    if name == "_target_":
        return _target_problem(place, value)
    if place.startswith(LOGGING_PLACES):
        return _logging_problem(place, name, value)
    if place == SEARCH_CODE and value is not None:
        return _refused(place, value, "it must be null; the search space is given as overrides")
    if place.startswith(ENVIRONMENT_PLACE) and name not in ENVIRONMENT:
        return f"{place}: settings may give a job these variables only: {', '.join(ENVIRONMENT)}; export others"
    if place in SHELL_PLACES and value and not any(each == place or each.startswith(f"{place}.") for each in typed):
        return _refused(place, value, "shell commands must be typed on the command line, not stand in a file")
    if place == CHDIR_PLACE and value is True:
        return (
            f"{place}: true is not allowed: paths in settings are relative to where the command is typed, and all that"
            " a run writes is in its folder anyway; hydra.run.dir=FOLDER says which that is"
        )
    return _resolver_problem(place, value) if isinstance(value, str) else None


def _refused(place: str, value: Any, allowed: str) -> str:
    return f"{place}: {value!r} is not allowed: settings call no code; {allowed}"


def _target_problem(place: str, value: Any) -> str | None:
    if place in PLUGIN_PLACES:
        known = f"a class of {' or '.join(PLUGINS)}*"
        return None if str(value).startswith(PLUGINS) else _refused(place, value, f"it must be {known}")
    if place == SAMPLER_PLACE:
        is_sampler = SAMPLERS.fullmatch(str(value)) is not None
        return None if is_sampler else _refused(place, value, "it must be a sampler of optuna.samplers")
    return _refused(place, value, "it must be left out")


def _logging_problem(place: str, name: str, value: Any) -> str | None:
    if name == "()" or (name == "class" and value not in LOGGING_CLASSES):
        return _refused(place, value, f"classes must be among {', '.join(LOGGING_CLASSES)}")
    if isinstance(value, str) and "://" in value and value not in STREAMS:
        return _refused(place, value, f"streams must be {' or '.join(STREAMS)}")
    # Resolved later, a reference could turn into any of these.
    if isinstance(value, str) and "${" in value and not RUN_FOLDER.match(value):
        return _refused(place, value, "a reference must begin with ${hydra:runtime.output_dir}")
    return None


def _resolver_problem(place: str, text: str) -> str | None:
    """What is wrong with the resolvers that a text names, whatever they are nested in."""
    try:
        found = named_resolvers(text)
    except ReferenceTooLarge as error:
        return f"{place}: {text[:MOST_SHOWN]!r}... is not allowed: {error}"
    for resolver in found:
        if problem := _named_problem(resolver):
            return f"{place}: {text!r} is not allowed: {problem}"
    return None


def _named_problem(resolver: NamedResolver) -> str | None:
    if resolver.name is None:
        return "settings are data, and a resolver is named as it is"
    if resolver.name in RESOLVERS:
        return None
    if resolver.name != "oc.env":
        return f"settings are data, and there is no resolver {resolver.name}"
    return None if resolver.argument in READ_VARIABLES else unread_variable(resolver.argument)


def unread_variable(name: str) -> str:
    """Why settings do not read an environment variable, and what to do instead."""
    return (
        f"settings read no environment variable but {', '.join(READ_VARIABLES)}; let the shell put {name or 'it'} into"
        " the command, as in paths.store=$SCRATCH/store"
    )
