"""Small changes to a Python module's syntax tree, each of which some test should notice.

Of a module, its expressions and statements are changed where they decide something: operators, comparisons, numbers,
conditions, switches, calls that are made for their effect. Annotations, docstrings, decorators, messages (f-strings and
what is raised) and blocks for type checkers are left as they are.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
NAMES = {
    **{one: other for pair in (("min", "max"), ("any", "all"), ("floor", "ceil")) for one, other in (pair, pair[::-1])},
    **{one: other for pair in (("minimum", "maximum"), ("argmin", "argmax")) for one, other in (pair, pair[::-1])},
    "exp": "expm1",
    "log": "log1p",
    "sqrt": "square",
    "abs": "float",
    "sum": "max",
    "mean": "sum",
}
"""Function or method -> the one that is called instead."""


@dataclass(frozen=True)
class Mutation:
    """One change of a module."""

    place: int
    """Number of the changed node in the order of :func:`ast.walk`."""
    variant: int
    """Which of the changes of that node."""
    line: int
    before: str
    """The lines of source that the node is on, blanks made single."""
    after: str
    """The same lines as they are changed."""


def mutations(source: str) -> list[Mutation]:
    """All changes of a module's source text, in the order of its lines."""
    tree = ast.parse(source)
    allowed = set(map(id, _nodes(tree)))
    found = [
        _described(source, place, variant, node, changed)
        for place, node in enumerate(ast.walk(tree))
        if id(node) in allowed
        for variant, changed in enumerate(changes(node))
    ]
    return sorted(found, key=lambda mutation: (mutation.line, mutation.place, mutation.variant))


def mutated(source: str, mutation: Mutation) -> ast.Module:
    """The syntax tree of the source text with one change; line numbers are those of the text."""
    tree = ast.parse(source)
    node = next(node for place, node in enumerate(ast.walk(tree)) if place == mutation.place)
    changed = changes(node)[mutation.variant]
    return ast.fix_missing_locations(_Replacement(node, changed).visit(tree))


def changes(node: ast.AST) -> list[ast.AST]:
    """What may stand in the place of a node."""
    found = [changed for kind, change in _CHANGES.items() if isinstance(node, kind) for changed in change(node)]
    return [ast.copy_location(changed, node) for changed in found]


class _Replacement(ast.NodeTransformer):
    def __init__(self, node: ast.AST, changed: ast.AST) -> None:
        self._node, self._changed = node, changed

    def visit(self, node: ast.AST) -> Any:
        return self._changed if node is self._node else super().visit(node)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


# ---- which nodes -----------------------------------------------------------------------------------------------------


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one that are run and decide something."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left(child):
                yield child
                yield from _nodes(child)


def _is_left(node: ast.AST) -> bool:
    is_checked = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    is_slots = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("__")
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_checked or is_slots or is_text or isinstance(node, (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))


# ---- changes of each kind of node ------------------------------------------------------------------------------------


def _operation(node: Any) -> list[ast.AST]:
    other = OPERATORS.get(type(node.op))
    if other is None or _is_text(getattr(node, "left", node)) or _is_text(getattr(node, "right", node)):
        return []
    return [_with(node, op=other())]


def _comparison(node: Any) -> list[ast.AST]:
    if len(node.ops) > 1:
        return [
            _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
            for place, operator in enumerate(node.ops)
            for other in COMPARISONS[type(operator)][:1]
        ]
    return [_with(node, ops=[other()]) for other in COMPARISONS[type(node.ops[0])]]


def _junction(node: Any) -> list[ast.AST]:
    return [_with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())]


def _sign(node: Any) -> list[ast.AST]:
    return [] if isinstance(node.op, ast.UAdd) else [copy.copy(node.operand)]


def _constant(node: Any) -> list[ast.AST]:
    if isinstance(node.value, bool):
        return [ast.Constant(not node.value)]
    if isinstance(node.value, (int, float)):
        return [ast.Constant(node.value + 1)]
    return []


def _condition(node: Any) -> list[ast.AST]:
    if isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
        return []  # these are changed themselves
    return [_with(node, test=ast.UnaryOp(ast.Not(), node.test))]


def _call(node: Any) -> list[ast.AST]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in NAMES:
        return [_with(node, func=ast.Name(NAMES[function.id], ast.Load()))]
    if isinstance(function, ast.Attribute) and function.attr in NAMES:
        return [_with(node, func=_with(function, attr=NAMES[function.attr]))]
    return []


def _effect(node: Any) -> list[ast.AST]:
    return [ast.Pass()] if isinstance(node.value, ast.Call) else []


_CHANGES: dict[tuple[type[ast.AST], ...], Callable[[Any], list[ast.AST]]] = {
    (ast.BinOp, ast.AugAssign): _operation,
    (ast.Compare,): _comparison,
    (ast.BoolOp,): _junction,
    (ast.UnaryOp,): _sign,
    (ast.Constant,): _constant,
    (ast.If, ast.IfExp, ast.While): _condition,
    (ast.Call,): _call,
    (ast.Expr,): _effect,
    (ast.Break,): lambda _: [ast.Continue()],
    (ast.Continue,): lambda _: [ast.Break()],
}


# ---- how a change is shown -------------------------------------------------------------------------------------------


def _described(source: str, place: int, variant: int, node: Any, changed: ast.AST) -> Mutation:
    shown, into = (node.test, changed.test) if isinstance(node, (ast.If, ast.While)) else (node, changed)
    lines = source.splitlines()[node.lineno - 1 : shown.end_lineno]
    # Columns of a syntax tree count bytes.
    first, last = lines[0].encode(), lines[shown.end_lineno - node.lineno].encode()
    start = first[: shown.col_offset].decode() if shown.lineno == node.lineno else lines[0]
    end = last[shown.end_col_offset :].decode()
    return Mutation(place, variant, node.lineno, _single("\n".join(lines)), _single(start + ast.unparse(into) + end))


def _single(text: str) -> str:
    return " ".join(text.split())
