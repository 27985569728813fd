"""The built-in optimizers and schedules; imports nothing heavy."""

from modelcollapse.registry import Member
from modelcollapse.training.settings import SgdSettings

_OPTIMIZERS, _SCHEDULES = "modelcollapse.training.optimizers", "modelcollapse.training.schedules"

MEMBERS = (
    Member("optimizers", "adamw", f"{_OPTIMIZERS}:adamw", label="AdamW"),
    Member("optimizers", "adam", f"{_OPTIMIZERS}:adam", label="Adam"),
    Member("optimizers", "sgd", f"{_OPTIMIZERS}:sgd", settings=SgdSettings, label="SGD"),
    Member("schedules", "constant", f"{_SCHEDULES}:constant"),
    Member("schedules", "cosine_per_epoch", f"{_SCHEDULES}:cosine_per_epoch"),
    Member("schedules", "cosine_per_step", f"{_SCHEDULES}:cosine_per_step"),
    Member("schedules", "linear", f"{_SCHEDULES}:linear"),
)
