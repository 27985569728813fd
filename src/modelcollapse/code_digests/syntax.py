"""Canonical text of Python code, equal for code that computes the same in the same way on every supported Python."""

import ast
import warnings
from collections.abc import Collection
from typing import Any, NamedTuple, cast

from modelcollapse.code_digests.serialization import serialized

FunctionNode = (ast.FunctionDef, ast.AsyncFunctionDef)
DefinitionNode = (*FunctionNode, ast.ClassDef)

_LOGGERS = frozenset({"logger", "_logger", "LOGGER", "_LOGGER", "log", "_log", "LOG", "_LOG", "logging"})
_LEVELS = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"})
_STANDARD_STREAMS = frozenset({"sys.stdout", "sys.stderr"})
# No sum, list, sorted or join: they would use up an iterator that the code reads afterwards.
_FORMATTING = frozenset(
    {"str", "repr", "ascii", "format", "len", "round", "abs", "int", "float", "bool", "type", "isinstance"}
)
_PLAIN_NODES = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.JoinedStr, ast.FormattedValue),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Tuple, ast.List, ast.Set, ast.Dict),
    *(ast.keyword, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
# Decorators known to read no annotations; any other may (functools.singledispatch.register, typeguard, pydantic).
_BLIND_DECORATORS = frozenset(
    {
        *("staticmethod", "classmethod", "property", "cached_property", "setter", "abstractmethod", "override"),
        *("overload", "contextmanager", "cache", "lru_cache", "wraps", "no_grad", "inference_mode"),
    }
)


class Imported(NamedTuple):
    """One name that an import statement binds."""

    bound: str
    """The name that it binds; ``*`` for all of a module."""
    level: int
    """The leading dots of a relative import."""
    module: str
    """The module as written."""
    name: str | None
    """What is imported from the module; None where the module itself is."""
    target: str
    """The module that ``bound`` refers to where ``name`` is None: ``a`` after ``import a.b``."""


class Code(NamedTuple):
    """A syntax tree without what computes nothing, and the names that its imports bind, in order."""

    tree: ast.Module
    imports: list[Imported]


def canonical_code(source: str, *, without: Collection[str] = ()) -> str:
    """A text of the syntax tree of ``source`` that is equal for equal code.

    Left out are formatting, comments, docstrings and other constants that stand alone, ``pass``, the bodies of
    ``if TYPE_CHECKING:``, and annotations that nothing reads: those of arguments and results of functions that are
    not decorated, or only with well-known decorators such as ``property``, and those of variables outside class
    bodies. Class bodies keep theirs, which dataclasses read. The text neither depends on the Python version nor on
    the module's name.

    Left out are also statements that only log: calls of ``print``, ``warnings.warn`` and the level methods of
    ``logging``, ``logger``, ``self.logger`` and the like, and an ``if`` around nothing else. They stay where their
    arguments could do more than be formatted: an assignment expression, ``await``, ``yield``, a comprehension, an
    unpacked iterable, or any call but those of ``str``, ``len``, ``round`` and their kind and of ``"...".format``
    (a call may draw random numbers or use up an iterator). Attributes, subscripts and operators count as formatting.
    ``print`` with a ``file`` other than ``sys.stdout`` and ``sys.stderr`` stays, as it writes data.

    Args:
        source: the text of a module.
        without: qualified names (``function``, ``Class.method``) of functions and classes that are left out.

    Raises:
        SyntaxError: ``source`` is not Python code.
        LookupError: a name of ``without`` is not defined in ``source``.
    """
    return serialized(read_code(source, without=without).tree)


def read_code(
    source: str | bytes, *, without: Collection[str] = (), filename: str = "<unknown>", annotations: bool = False
) -> Code:
    """Parse ``source`` and leave out what :func:`canonical_code` leaves out; ``annotations`` keeps all of them."""
    if isinstance(source, str):
        source = source.removeprefix("\ufeff")
    with warnings.catch_warnings():
        # An invalid escape sequence is for whoever runs the code to hear of.
        warnings.simplefilter("ignore")
        tree = ast.parse(source, filename)
    pruner = _Pruner(frozenset(without), annotations)
    tree.body = pruner.prune(tree.body, "", in_class=False)
    if absent := sorted(pruner.without - pruner.left_out):
        raise LookupError(f"{filename} defines no {', '.join(absent)}")
    return Code(tree, pruner.imports)


class _Pruner:
    """Removes from a tree, in place, the statements and annotations that compute nothing."""

    def __init__(self, without: frozenset[str], annotations: bool) -> None:
        self.without = without
        self.left_out: set[str] = set()
        self.imports: list[Imported] = []
        self._annotations = annotations

    def prune(self, body: list[ast.stmt], prefix: str, *, in_class: bool) -> list[ast.stmt]:
        kept: list[ast.stmt] = []
        for statement in body:
            kind = statement.__class__
            if kind is ast.Assign or kind is ast.Return:
                kept.append(statement)
            elif kind is ast.Expr:
                if not _computes_nothing(cast(ast.Expr, statement).value):
                    kept.append(statement)
            elif kind is ast.If:
                kept += self._prune_if(cast(ast.If, statement), prefix, in_class)
            elif kind in DefinitionNode:
                kept += self._prune_definition(cast(ast.FunctionDef, statement), prefix)
            elif kind is ast.AnnAssign:
                kept.append(
                    statement if in_class or self._annotations else _unannotated(cast(ast.AnnAssign, statement))
                )
            elif kind is not ast.Pass:
                self._prune_other(statement, prefix, in_class)
                kept.append(statement)
        return kept

    def _prune_if(self, statement: ast.If, prefix: str, in_class: bool) -> list[ast.stmt]:
        orelse = self.prune(statement.orelse, prefix, in_class=in_class)
        if dotted(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return orelse
        statement.body = self.prune(statement.body, prefix, in_class=in_class)
        statement.orelse = orelse
        return [statement] if statement.body or orelse or not _is_plain(statement.test) else []

    def _prune_definition(self, node: Any, prefix: str) -> list[ast.stmt]:
        name = prefix + node.name
        if name in self.without:
            self.left_out.add(name)
            return []
        is_class = node.__class__ is ast.ClassDef
        if not is_class and not self._annotations and all(map(_reads_no_annotations, node.decorator_list)):
            _drop_annotations(node)
        node.body = self.prune(node.body, f"{name}." if is_class else f"{name}.<locals>.", in_class=is_class)
        return [node]

    def _prune_other(self, node: Any, prefix: str, in_class: bool) -> None:
        """An import, which is noted, or a statement that may hold blocks."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imports += imported(node)
            return
        for field in _BLOCKS.get(node.__class__, ()):
            value = getattr(node, field)
            if field in ("handlers", "cases"):
                for block in value:
                    block.body = self.prune(block.body, prefix, in_class=in_class)
            else:
                setattr(node, field, self.prune(value, prefix, in_class=in_class))


_BLOCKS: dict[type, tuple[str, ...]] = {
    ast.For: ("body", "orelse"),
    ast.AsyncFor: ("body", "orelse"),
    ast.While: ("body", "orelse"),
    ast.With: ("body",),
    ast.AsyncWith: ("body",),
    ast.Try: ("body", "handlers", "orelse", "finalbody"),
    ast.TryStar: ("body", "handlers", "orelse", "finalbody"),
    ast.Match: ("cases",),
}


def imported(statement: ast.Import | ast.ImportFrom) -> list[Imported]:
    """The names that one import statement binds."""
    if isinstance(statement, ast.ImportFrom):
        level, module = statement.level, statement.module or ""
        return [Imported(alias.asname or alias.name, level, module, alias.name, "") for alias in statement.names]
    names = []
    for alias in statement.names:
        top = alias.name.partition(".")[0]
        names.append(Imported(alias.asname or top, 0, alias.name, None, alias.name if alias.asname else top))
    return names


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for a name or the attributes of a name, the empty text for everything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def _unannotated(statement: ast.AnnAssign) -> ast.stmt:
    if statement.value is not None:
        return ast.Assign(targets=[statement.target], value=statement.value)
    # It stays without a value: it makes the name local.
    statement.annotation = cast(ast.expr, None)
    return statement


def _drop_annotations(function: ast.FunctionDef) -> None:
    function.returns = None
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None


def _reads_no_annotations(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return dotted(called).rpartition(".")[2] in _BLIND_DECORATORS


def _computes_nothing(value: ast.expr) -> bool:
    """Whether an expression that stands as a statement is a constant or only logs."""
    if isinstance(value, ast.Constant):
        return True
    return isinstance(value, ast.Call) and _is_log_call(value) and all(map(_is_plain, _arguments(value)))


def _is_log_call(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "print" and all(
            dotted(keyword.value) in _STANDARD_STREAMS for keyword in call.keywords if keyword.arg in ("file", None)
        )
    if not isinstance(function, ast.Attribute):
        return False
    owner = dotted(function.value)
    if owner == "warnings":
        return function.attr == "warn"
    return function.attr in _LEVELS and (
        owner.removeprefix("self.").removeprefix("cls.") in _LOGGERS or _is_get_logger(function.value)
    )


def _is_get_logger(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and dotted(node.func) in ("logging.getLogger", "getLogger")
        and all(map(_is_plain, _arguments(node)))
    )


def _arguments(call: ast.Call) -> list[ast.expr]:
    return call.args + [keyword.value for keyword in call.keywords]


def _is_plain(expression: ast.expr) -> bool:
    """Whether evaluating the expression is taken to change nothing and to draw nothing."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call):
            function = node.func
            is_format = isinstance(function, ast.Attribute) and function.attr == "format"
            if dotted(function) not in _FORMATTING and not (
                is_format and isinstance(cast(ast.Attribute, function).value, ast.Constant)
            ):
                return False
        elif not isinstance(node, _PLAIN_NODES):
            return False
    return True
