"""Digests of objects from extensions and scripts: a function or class and all the code that it refers to."""

import hashlib
from collections.abc import Iterable
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from modelcollapse.code_digests.neutral import HOUSE_NEUTRAL, Neutral
from modelcollapse.code_digests.notebook import Notebook, plain_text
from modelcollapse.code_digests.resolution import Edges, Key, Live, Resolver, Target, library, merged
from modelcollapse.code_digests.serialization import serialized
from modelcollapse.code_digests.sources import Folders, file_of, house_folder


def object_digest(registered: object, *, house: str = "modelcollapse", neutral: Neutral = HOUSE_NEUTRAL) -> str:
    """SHA-256 of the code of a function or class from outside the package and of all code that it refers to.

    Covered are, from one to the next, the functions, classes and constants of a module that a definition names (all
    statements that bind or change the name), its base classes, the modules of the same distribution, of the
    script's folder and of the folders of ``sys.path`` that hold no libraries, and the house functions and classes
    that it names, with what they name. A class counts whole. A module that is named itself, as in
    ``getattr(helpers, name)``, counts whole. Annotations outside the house count, as they may name settings. Of
    libraries only the names count. Sources are read from files without importing them; only a name that a house
    module provides on demand is taken from the imported module, and where that has no source, its name counts.

    The digest depends on no module's name and no folder: a script gives the same as ``__main__`` and imported.
    Decorators of the house are left out, as they register; so are, inside the house, those named ``register...``.
    What :func:`~modelcollapse.code_digests.syntax.canonical_code` leaves out changes nothing, except for annotations,
    and neither does the order of definitions, what ``if __name__ == "__main__":`` guards, or a definition that is
    not referred to.

    In a notebook or interpreter the names are looked up in the live namespace: functions and classes by the cell that
    defined them, numbers, texts and containers of them by value, and other objects by the last cell that binds
    their name. Of a ``functools.partial``, a closure or an object with ``__call__``, the plain values that it holds
    count, and the code of functions and classes that it holds.

    Not seen are objects found by a text at run time (``getattr`` with a computed name on an object, a registry,
    ``import_module``), methods called on arguments, except for those of classes that an annotation names, globals
    changed at run time by other modules or by functions that the object does not name, what a module does when it is
    imported that no named statement shows, compiled extensions, and data files.

    Args:
        registered: the function, class, partial or callable object.
        house: the name of the package that is the house.
        neutral: modules and functions of the house that do not count.

    Raises:
        SourceUnavailable: there is no source for the object or for something of its own that it refers to.
        SyntaxError: a source file that it refers to is not Python code.
    """
    folders = Folders.around(file_of(_definer(registered)))
    return _Graph(Resolver(house, house_folder(house), neutral, folders)).digest(registered)


class _Graph:
    """The definitions that an object leads to, numbered in the order in which they are found.

    Numbers stand in the digested text where names of modules would make it depend on where the code lies.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._notebook = Notebook(resolver)
        self._numbers: dict[Key, int] = {}
        self._found: list[Key] = []

    def digest(self, registered: object) -> str:
        root = [self._label(target) for target in self._describe(registered, [])]
        digest = hashlib.sha256("\n".join(root).encode())
        # The list grows while it is read.
        for number, key in enumerate(self._found):
            text, edges = self._definition(key)
            lines = [f"definition {number}", text]
            for chain in sorted(edges):
                # Each target once, in the order in which they were found.
                labels = dict.fromkeys(map(self._label, edges[chain]))
                lines += [f"{'.'.join(chain)} -> {label}" for label in labels]
            digest.update("\n".join(["", *lines]).encode())
        return digest.hexdigest()

    def _label(self, target: Target) -> str:
        if isinstance(target, str):
            return target
        if target not in self._numbers:
            self._numbers[target] = len(self._found)
            self._found.append(target)
        return f"definition:{self._numbers[target]}"

    def _definition(self, key: Key) -> tuple[str, Edges]:
        nodes, edges = self._notebook.definition(key) if isinstance(key, Live) else self._resolver.definition(key)
        return nodes if isinstance(nodes, str) else "\n".join(map(serialized, nodes)), edges

    def _describe(self, value: Any, above: list[Any]) -> list[Target]:
        """What stands for an object: its plain value, or its code and what it holds."""
        if (text := plain_text(value)) is not None:
            return [f"value:{text}"]
        if any(value is each for each in above):
            return ["value:itself"]

        def describe(parts: Iterable[Any]) -> list[Target]:
            return merged(self._describe(part, [*above, value]) for part in parts)

        if isinstance(value, partial):
            return ["partial", *describe([value.func, len(value.args), *value.args, *_items(value.keywords)])]
        if isinstance(value, MethodType):
            return ["method", *describe([value.__func__.__name__, value.__self__])]
        if isinstance(value, FunctionType):
            return [*self._notebook.resolve_object(value), *describe(_held(value))]
        if isinstance(value, type):
            return self._notebook.resolve_object(value)
        if isinstance(value, ModuleType):
            return self._resolver.of_module(value, ())
        if hasattr(value, "__wrapped__"):
            return ["wrapper", *describe([type(value), value.__wrapped__])]
        if hasattr(value, "__qualname__"):
            return [library(value)]
        kind = self._notebook.resolve_object(type(value))
        # What an object of a library holds, such as a cache, may differ from process to process.
        is_own = not any(isinstance(target, str) for target in kind)
        return ["object", *kind, *(describe(_items(vars(value))) if is_own and hasattr(value, "__dict__") else [])]


def _definer(value: Any) -> Any:
    """The function or class whose file says which folders are the researcher's own."""
    while not (isinstance(value, FunctionType | type) or hasattr(value, "__wrapped__")):
        if isinstance(value, partial):
            value = value.func
        else:
            value = value.__self__ if isinstance(value, MethodType) else type(value)
    return value


def _items(mapping: dict[str, Any]) -> list[Any]:
    return [part for item in sorted(mapping.items()) for part in item]


def _held(function: FunctionType) -> list[Any]:
    """What a function holds that its source does not show: its closure, and defaults that a loop or call evaluated."""
    held: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            held.append("unset")
    if "<" in function.__qualname__:
        held += [*(function.__defaults__ or ()), *_items(function.__kwdefaults__ or {})]
    if hasattr(function, "__wrapped__"):
        held.append(function.__wrapped__)
    return held
