"""Code that is declared to decide no number, each with the reason: logging, progress, file handling."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Neutral:
    """Modules and functions that no digest covers, by name, with the reason for each.

    Raises:
        ValueError: a name is malformed or has no reason; the message lists all that are.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    """``package.module``, or ``package.subpackage.*`` for a package itself and everything below it."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """``package.module:function`` or ``package.module:Class.method``."""

    def __post_init__(self) -> None:
        wrong = [f"{name!r} has no reason" for name, why in (*self.modules.items(), *self.functions.items()) if not why]
        for pattern in self.modules:
            if not _is_dotted(pattern.removesuffix(".*")):
                wrong.append(f"{pattern!r} is neither package.module nor package.subpackage.*")
        for name in self.functions:
            module, colon, function = name.partition(":")
            if not (colon and _is_dotted(module) and _is_dotted(function)):
                wrong.append(f"{name!r} is neither package.module:function nor package.module:Class.method")
        if wrong:
            raise ValueError("neutral code: " + "; ".join(wrong))

    @classmethod
    def parse(cls, entries: Mapping[str, str]) -> "Neutral":
        """Read modules and functions from one mapping; a name with a colon is that of a function."""
        return cls(
            {name: why for name, why in entries.items() if ":" not in name},
            {name: why for name, why in entries.items() if ":" in name},
        )

    def has_module(self, module: str) -> bool:
        """Whether the module with this absolute name is neutral."""
        parts = module.split(".")
        packages = (".".join(parts[:length]) + ".*" for length in range(1, len(parts) + 1))
        return module in self.modules or any(pattern in self.modules for pattern in packages)

    def functions_of(self, module: str) -> frozenset[str]:
        """The qualified names of the neutral functions of one module."""
        prefix = module + ":"
        return frozenset(name.removeprefix(prefix) for name in self.functions if name.startswith(prefix))


def matches(pattern: str, module: str) -> bool:
    """Whether ``module`` is named by ``pattern``, which is a name or ``package.*``."""
    package = pattern.removesuffix(".*")
    return module == package or (package != pattern and module.startswith(package + "."))


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


HOUSE_NEUTRAL = Neutral()
"""The neutral code of modelcollapse itself."""
