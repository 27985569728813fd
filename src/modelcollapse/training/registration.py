"""The built-in optimizers, schedules and callbacks; imports nothing heavy."""

from modelcollapse.registry import Member
from modelcollapse.training.settings import EarlyStoppingSettings, SgdSettings, WeightAveragingSettings

_CALLBACKS = "modelcollapse.training.callbacks"
_OPTIMIZERS, _SCHEDULES = "modelcollapse.training.optimizers", "modelcollapse.training.schedules"

MEMBERS = (
    Member("optimizers", "adamw", f"{_OPTIMIZERS}:adamw", label="AdamW"),
    Member("optimizers", "adam", f"{_OPTIMIZERS}:adam", label="Adam"),
    Member("optimizers", "sgd", f"{_OPTIMIZERS}:sgd", settings=SgdSettings, label="SGD"),
    Member("schedules", "constant", f"{_SCHEDULES}:constant"),
    Member("schedules", "cosine_per_epoch", f"{_SCHEDULES}:cosine_per_epoch"),
    Member("schedules", "cosine_per_step", f"{_SCHEDULES}:cosine_per_step"),
    Member("schedules", "linear", f"{_SCHEDULES}:linear"),
    Member("callbacks", "lr_monitor", f"{_CALLBACKS}:LearningRateMonitor", options={"changes_results": False}),
    Member(
        "callbacks",
        "early_stopping",
        f"{_CALLBACKS}:EarlyStopping",
        settings=EarlyStoppingSettings,
        options={"changes_results": True, "all_ranks": True},
    ),
    Member(
        "callbacks",
        "weight_averaging",
        f"{_CALLBACKS}:WeightAveraging",
        settings=WeightAveragingSettings,
        options={"changes_results": True, "replaces_weights": True, "all_ranks": True},
    ),
)
