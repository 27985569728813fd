"""What every language-model stage works with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelcollapse.settings.decoding import DecodingSettings
from modelcollapse.settings.language_model import LanguageModelSettings
from modelcollapse.settings.text import TextDataSettings

if TYPE_CHECKING:
    from modelcollapse.execution.trainer import Execution


@dataclass(frozen=True)
class Bench:
    """Settings of the family, and how work is executed."""

    model: LanguageModelSettings
    data: TextDataSettings
    decoding: DecodingSettings
    execution: "Execution"
