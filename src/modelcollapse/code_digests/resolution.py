"""What a name in a source file refers to: a definition in some file, or something in a library, without importing."""

import ast
import copy
import importlib
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from modelcollapse.code_digests.neutral import Neutral
from modelcollapse.code_digests.references import Chain, References
from modelcollapse.code_digests.sources import (
    Folders,
    SourceFile,
    SourceUnavailable,
    code_of,
    file_of,
    find_below,
    nodes_at,
    package_folder,
    source_file,
)
from modelcollapse.code_digests.syntax import DefinitionNode, Imported, dotted


class Named(NamedTuple):
    """All statements of a file that bind a name."""

    path: Path
    name: str


class Whole(NamedTuple):
    """All statements of a file."""

    path: Path


class AtLine(NamedTuple):
    """A function, class or lambda of a file that no name of the module leads to."""

    path: Path
    line: int


class Live(NamedTuple):
    """A name in the namespace of a notebook."""

    namespace: int
    name: str


Key = Named | Whole | AtLine | Live
Target = Key | str
"""A definition, or the text that stands for what has none: a plain value or the name of something in a library."""
Edges = dict[Chain, list[Target]]
"""What each name in a definition refers to."""
_Seen = set[tuple[Path, str]]

NEUTRAL = "neutral"


class Resolver:
    """Looks names up in files: those of the house, and the researcher's own below ``folders``."""

    def __init__(self, house: str, house_folder: Path | None, neutral: Neutral, folders: Folders) -> None:
        self.house = house
        self._house_folder = house_folder
        self._neutral = neutral
        self._folders = folders

    def definition(self, key: Named | Whole | AtLine) -> tuple[list[ast.AST], Edges]:
        """The syntax trees of a definition in a file, without registration, and what its names refer to."""
        file = self._file(key.path)
        edges: Edges = {}
        nodes: list[ast.AST] = []
        if isinstance(key, Named):
            nodes += file.binding(key.name)
        elif isinstance(key, Whole):
            nodes += file.statements
            edges["*",] = self._imported(file, file.stars, (), set())
        else:
            nodes += nodes_at(file.statements, key.line)
        nodes = [self._without_registration(node, file) for node in nodes]
        found = References.of(nodes)
        for chain in found.chains:
            edges[chain] = edges.get(chain, []) + self._resolve(file, chain, found.imports, set())
        return nodes, edges

    def of_object(self, value: Any) -> list[Target] | None:
        """The definition of a function or class; a text where it is a library's; None where it has no file.

        Raises:
            SourceUnavailable: its file does not define it.
        """
        path = file_of(value)
        if path is None:
            return None
        if self._is_neutral(path):
            return [NEUTRAL]
        if not self._is_covered(path):
            return [library(value)]
        top = value.__qualname__.partition(".")[0]
        file = self._file(path)
        if file.binding(top):
            return [Named(path, top)]
        code = code_of(value)
        lines = (
            file.lines_of_class(value.__name__) if code is None or isinstance(value, type) else [code.co_firstlineno]
        )
        if not any(nodes_at(file.statements, line) for line in lines):
            raise SourceUnavailable(
                f"{path} does not define {value.__qualname__}: was it changed since it was imported?"
            )
        return [AtLine(path, line) for line in lines]

    def of_module(self, module: ModuleType, chain: Chain) -> list[Target]:
        """What the attributes of an imported module refer to, or all of it where there are none."""
        name = getattr(module, "__file__", None)
        path = Path(name).resolve() if name and name.endswith(".py") else None
        if path and self._is_covered(path):
            return self._in_module(path, chain, set())
        return [f"library:{module.__name__}:"]

    def of_import(self, each: Imported, rest: Chain) -> list[Target]:
        """What the attributes ``rest`` of a name that an absolute import binds refer to."""
        return self._follow(None, each, rest, set())

    # Names in files.

    def _resolve(self, file: SourceFile, chain: Chain, inside: list[Imported], seen: _Seen) -> list[Target]:
        """What a name and its attributes refer to; empty for a builtin. ``inside`` are a definition's own imports."""
        name = chain[0]
        imports = file.imports.get(name, []) + [each for each in inside if each.bound == name]
        targets = self._imported(file, imports, chain[1:], seen)
        if file.binding(name):
            targets.append(Named(file.path, name))
        if targets:
            return targets
        # A library's or a module's answer to every name would take the builtins for names of the starred module.
        return [target for target in self._imported(file, file.stars, chain, seen) if isinstance(target, Named)]

    def _imported(self, file: SourceFile, imports: list[Imported], rest: Chain, seen: _Seen) -> list[Target]:
        return [target for each in imports for target in self._follow(file, each, rest, seen)]

    def _follow(self, file: SourceFile | None, each: Imported, rest: Chain, seen: _Seen) -> list[Target]:
        module = each.target if each.name is None else each.module
        names = rest if each.name in (None, "*") else (str(each.name), *rest)
        if each.level and file is not None:
            path = find_below(file.path.parents[each.level - 1], module)
        else:
            path = self._find(module)
        if path is None:
            return [f"library:{'.' * each.level}{module}:{each.name or ''}"]
        return self._in_module(path, names, seen)

    def _find(self, module: str) -> Path | None:
        top = module.partition(".")[0]
        if top == self.house:
            return find_below(self._house_folder.parent, module) if self._house_folder else None
        path = self._folders.find(module)
        if path is not None and path.suffix != ".py":
            # Python takes a package before a folder that merely bears its name, such as W&B's `wandb`.
            specification = PathFinder.find_spec(top)
            return None if specification and specification.origin else path
        return path

    def _in_module(self, path: Path, chain: Chain, seen: _Seen) -> list[Target]:
        """What the attributes of a module refer to, through the modules that it takes them from."""
        is_file = path.suffix == ".py"
        if is_file and self._is_neutral(path):
            return [NEUTRAL]
        if not chain:
            return [Whole(path)] if is_file else []
        if (path, chain[0]) in seen:
            return []
        seen.add((path, chain[0]))
        if is_file:
            file = self._file(path)
            if chain[0] in file.without:
                return [NEUTRAL]
            if targets := self._resolve(file, chain, [], seen):
                return targets
        folder = package_folder(path)
        if folder is not None and (below := find_below(folder, chain[0])):
            return self._in_module(below, chain[1:], seen)
        if self.in_house(path):
            return self._provided(self._house_name(path), chain)
        # Something that the module makes without binding it, as `__getattr__` does.
        return [Whole(path)] if is_file and not chain[0].startswith("__") else []

    def _provided(self, module: str, chain: Chain) -> list[Target]:
        """What a house module provides under a name that its source does not bind."""
        name = f"house:{module}.{chain[0]}"
        try:
            value = getattr(importlib.import_module(module), chain[0])
        except (ImportError, AttributeError):
            return [name]
        if isinstance(value, ModuleType):
            return self.of_module(value, chain[1:])
        targets = self.of_object(value) if isinstance(value, FunctionType | type) else None
        return [name] if targets is None else targets

    # Files.

    def in_house(self, path: Path) -> bool:
        """Whether a file is the house's."""
        return self._house_folder is not None and path.is_relative_to(self._house_folder)

    def _is_covered(self, path: Path) -> bool:
        return self.in_house(path) or self._folders.contain(path)

    def _is_neutral(self, path: Path) -> bool:
        return self.in_house(path) and self._neutral.has_module(self._house_name(path))

    def _house_name(self, path: Path) -> str:
        assert self._house_folder is not None
        parts = path.relative_to(self._house_folder).with_suffix("").parts
        return ".".join([self.house, *(part for part in parts if part != "__init__")])

    def _file(self, path: Path) -> SourceFile:
        in_house = self.in_house(path)
        without = self._neutral.functions_of(self._house_name(path)) if in_house else frozenset()
        return source_file(path, self.house, without=without, annotations=not in_house)

    def _without_registration(self, node: ast.AST, file: SourceFile) -> ast.AST:
        in_house = self.in_house(file.path)

        def registers(name: str) -> bool:
            if not file.comes_from(name.partition(".")[0], self.house):
                return False
            return not in_house or name.rpartition(".")[2].startswith("register")

        return without_decorators(node, registers)


def without_decorators(node: ast.AST, left_out: Callable[[str], bool]) -> ast.AST:
    """A function or class without the decorators whose dotted name satisfies ``left_out``; other nodes as they are."""
    if not isinstance(node, DefinitionNode):
        return node
    bare = copy.copy(node)
    bare.decorator_list = [decorator for decorator in node.decorator_list if not left_out(_called_name(decorator))]
    return bare


def _called_name(decorator: ast.expr) -> str:
    return dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)


def library(value: Any) -> str:
    """The text that stands for something in a library."""
    return f"library:{value.__module__}:{value.__qualname__}"


def merged(lists: Iterable[list[Target]]) -> list[Target]:
    """All targets of all lists, in order."""
    return [target for targets in lists for target in targets]
