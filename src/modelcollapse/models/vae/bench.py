"""What every VAE stage works with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelcollapse.settings.vae import ImageDataSettings, VaeSettings

if TYPE_CHECKING:
    from modelcollapse.execution.trainer import Execution


@dataclass(frozen=True)
class Bench:
    """Settings of the family, and how work is executed."""

    model: VaeSettings
    data: ImageDataSettings
    execution: "Execution"
