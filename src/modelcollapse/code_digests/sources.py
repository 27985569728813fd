"""Where code outside the house lies: source files found without importing, and the cells of a notebook."""

import ast
import functools
import importlib.util
import linecache
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from modelcollapse.code_digests.references import bound_names, called_root, changed_names, module_imports
from modelcollapse.code_digests.syntax import DefinitionNode, Imported, dotted, read_code

_INSTALLED = frozenset({"site-packages", "dist-packages"})


class SourceUnavailable(Exception):
    """The source of an object that is to be digested cannot be found."""


class SourceFile:
    """The statements of a module by the names that they bind; what ``__name__ == "__main__"`` guards binds nothing."""

    def __init__(self, path: Path, house: str, *, without: frozenset[str] = frozenset(), annotations: bool) -> None:
        code = read_code(path.read_bytes(), filename=str(path), without=without, annotations=annotations)
        self.path = path
        self.without = without
        self.statements = code.tree.body
        self.imports: dict[str, list[Imported]] = {}
        self._bindings: dict[str, list[ast.stmt]] = {}
        counted = [statement for statement in self.statements if not _is_main_guard(statement)]
        for statement in counted:
            for each in module_imports(statement):
                self.imports.setdefault(each.bound, []).append(each)
        definitions = {statement.name for statement in counted if isinstance(statement, DefinitionNode)}
        for statement in counted:
            names = bound_names(statement)
            # `modelcollapse.register(...)` and `modelcollapse.main()` change nothing of this module.
            if not self.comes_from(called_root(statement), house):
                names |= changed_names(statement) - definitions
            for name in names:
                self._bindings.setdefault(name, []).append(statement)

    @property
    def stars(self) -> list[Imported]:
        """The imports of all that a module holds."""
        return self.imports.get("*", [])

    def binding(self, name: str) -> list[ast.stmt]:
        """The statements that bind or change a name, other than plain imports."""
        return self._bindings.get(name, [])

    def lines_of_class(self, name: str) -> list[int]:
        """Where classes of a name begin, inside functions and blocks too."""
        nodes = (node for statement in self.statements for node in ast.walk(statement))
        return [node.lineno for node in nodes if isinstance(node, ast.ClassDef) and node.name == name]

    def comes_from(self, name: str, package: str) -> bool:
        """Whether a name of the module is imported from a package."""
        return any(each.level == 0 and each.module.partition(".")[0] == package for each in self.imports.get(name, []))


class Folders(NamedTuple):
    """The folders below which modules are the researcher's own, each with the top names that count there."""

    roots: tuple[tuple[Path, frozenset[str] | None], ...]

    @classmethod
    def around(cls, path: Path | None) -> "Folders":
        """Those around a source file, or around a notebook, which has none.

        They are the folder that holds the top package of the file, the folder of the file itself, as for a script,
        and the folders of ``sys.path`` that hold no libraries. Of a package that is installed among libraries, only
        the top packages of its own distribution count.
        """
        folders = [Path(entry or ".").resolve() for entry in sys.path]
        searched = [(folder, None) for folder in folders if not is_library(folder)]
        if path is None:
            return cls(tuple(searched))
        top = path.parent
        while (top / "__init__.py").is_file():
            top = top.parent
        if is_library(top):
            name = path.relative_to(top).parts[0].removesuffix(".py")
            return cls(((top, _distribution_names(top, name)),))
        return cls(((top, None), (path.parent, None), *searched))

    def find(self, module: str) -> Path | None:
        """The file of an absolute module name, the folder of a package without ``__init__``, or None."""
        for root, names in self.roots:
            if (names is None or module.partition(".")[0] in names) and (found := find_below(root, module)):
                return found
        return None

    def contain(self, path: Path) -> bool:
        """Whether the file is the researcher's own."""
        for root, names in self.roots:
            if path.is_relative_to(root):
                parts = path.relative_to(root).parts
                if not _INSTALLED.intersection(parts) if names is None else parts[0].removesuffix(".py") in names:
                    return True
        return False


def find_below(folder: Path, module: str) -> Path | None:
    """The file or the folder of the module whose dotted name starts in ``folder``."""
    place = folder.joinpath(*module.split(".")) if module else folder
    if (place / "__init__.py").is_file():
        return place / "__init__.py"
    if module and (file := place.with_name(place.name + ".py")).is_file():
        return file
    return place if place.is_dir() else None


def package_folder(path: Path) -> Path | None:
    """The folder of the submodules of a package, given its file or its folder; None for other modules."""
    if path.suffix != ".py":
        return path
    return path.parent if path.name == "__init__.py" else None


def house_folder(house: str) -> Path | None:
    """The folder of the house's package, without importing it."""
    if house in sys.modules:
        return Path(next(iter(sys.modules[house].__path__))).resolve()
    specification = importlib.util.find_spec(house)
    locations = specification.submodule_search_locations if specification else None
    return Path(next(iter(locations))).resolve() if locations else None


def file_of(value: Any) -> Path | None:
    """The source file of a function or class; None where it was not read from a file on disk."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    code = code_of(value)
    for name in (getattr(module, "__file__", None), code.co_filename if code else None):
        if name and name.endswith(".py") and Path(name).is_file():
            return Path(name).resolve()
    return None


def code_of(value: Any) -> CodeType | None:
    """The code object of a function, or of a method that a class itself defines."""
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    code = getattr(value, "__code__", None)
    if isinstance(code, CodeType):
        return code
    if isinstance(value, type):
        for member in vars(value).values():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            found = getattr(function, "__code__", None)
            # Not what was put into it, such as the methods that dataclasses make.
            if isinstance(found, CodeType) and found.co_qualname.startswith(value.__qualname__ + "."):
                return found
    return None


def cells() -> Iterator[tuple[str, list[ast.stmt]]]:
    """The name and the statements of each piece of code that was entered in a notebook or interpreter, in order."""
    for name, entry in list(linecache.cache.items()):
        # Entries of one part are yet unread files; what exists on disk is a module and no cell.
        if len(entry) > 1 and not Path(name).exists():
            yield name, _statements("".join(entry[2]), name)


@functools.lru_cache(maxsize=256)
def _statements(source: str, name: str) -> list[ast.stmt]:
    try:
        return read_code(source, filename=name, annotations=True).tree.body
    except SyntaxError:
        # Cells may hold what is not Python, such as shell commands.
        return []


def nodes_at(statements: Iterable[ast.stmt], line: int) -> list[ast.AST]:
    """The functions, classes and lambdas that begin at a line, where a decorator is a beginning."""
    return [
        node
        for statement in statements
        for node in ast.walk(statement)
        if (isinstance(node, DefinitionNode) and line in (node.lineno, *(each.lineno for each in node.decorator_list)))
        or (isinstance(node, ast.Lambda) and node.lineno == line)
    ]


@functools.cache
def is_library(folder: Path) -> bool:
    """Whether a folder of ``sys.path`` holds installed packages or the standard library."""
    paths = sysconfig.get_paths()
    library = [Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (
        not folder.is_dir()
        or bool(_INSTALLED.intersection(folder.parts))
        or any(folder.is_relative_to(each) for each in library)
    )


@functools.cache
def _distribution_names(folder: Path, name: str) -> frozenset[str]:
    """The top names of the distribution that installed ``name`` into ``folder``, by the list of its files."""
    for record in folder.glob("*.dist-info/RECORD"):
        files = [line.partition(",")[0] for line in record.read_text(encoding="utf-8").splitlines()]
        tops = {file.partition("/")[0].removesuffix(".py") for file in files if file.endswith(".py")}
        if name in tops:
            return frozenset(tops)
    return frozenset({name})


def _is_main_guard(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, ast.Compare)
        and dotted(statement.test.left) == "__name__"
    )


@functools.lru_cache(maxsize=1024)
def _source_file(version: tuple[Path, int, int, int], house: str, without: frozenset[str], keep: bool) -> SourceFile:
    return SourceFile(version[0], house, without=without, annotations=keep)


def source_file(path: Path, house: str, *, without: frozenset[str], annotations: bool) -> SourceFile:
    """The statements of a file, read once a process as long as its size and time stay."""
    status = path.stat()
    version = (path, status.st_ino, status.st_mtime_ns, status.st_size)
    return _source_file(version, house, without, annotations)
