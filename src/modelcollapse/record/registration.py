"""The built-in loggers; imports nothing heavy."""

from collections.abc import Sequence
from importlib.util import find_spec

from modelcollapse.record.tracking import TrackingSettings
from modelcollapse.registry import Choice, Member

WANDB = "wandb"
"""The logger that ``tracking`` has the settings of, and switches on and off."""

MEMBERS = (
    Member("loggers", "csv", "modelcollapse.record.csv_view:CsvView"),
    Member(
        "loggers",
        "tensorboard",
        "modelcollapse.record.tensorboard_view:TensorBoardView",
        options={"package": "tensorboard", "extra": "tensorboard"},
    ),
    Member("loggers", WANDB, "modelcollapse.record.wandb_view:WandbView", options={"settings_in": "tracking"}),
)


def logger_problems(loggers: Sequence[Choice], tracking: TrackingSettings) -> list[str]:
    """Loggers that are named twice, are not installed, or contradict ``tracking``."""
    names = [choice.name for choice in loggers]
    problems = [f"logger: {name} is named {names.count(name)} times" for name in names if names.count(name) > 1]
    if WANDB in names and tracking.kind == "none":
        problems.append(f"logger: {WANDB} contradicts tracking=none; leave one of them out")
    for choice in loggers:
        options = choice.member.options
        if (package := options.get("package")) and find_spec(package) is None:
            extra = f"modelcollapse[{options['extra']}]"
            problems.append(f"logger: {choice.name} needs the package {package}: pip install '{extra}'")
    return list(dict.fromkeys(problems))
