"""A text of a syntax tree that is the same on every supported Python, which that of ``ast.dump`` is not."""

import ast
from collections.abc import Iterable
from typing import Any, cast

# Python 3.12 and 3.13 add fields that are None or empty for older syntax, which is why such fields are not written.
_UNWRITTEN_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class _FieldsOfNodes(dict[type, tuple[str, tuple[str, ...]]]):
    """The name of each class of nodes and the fields that are written, last first."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, tuple[str, ...]]:
        fields = tuple(field for field in reversed(kind._fields) if field not in _UNWRITTEN_FIELDS)
        self[kind] = kind.__name__, fields
        return self[kind]


_FIELDS = _FieldsOfNodes()


def serialized(tree: ast.AST) -> str:
    """A text of the tree from which the tree could be built again, one node a line, parents before their children.

    A line holds the class of the node and its fields: the value of a text or number, the length of a list, and only
    the name of a field that holds a node, which follows. Fields that are None or empty are not written.
    """
    lines: list[str] = []
    write = lines.append
    # A stack and no recursion: a sum of a thousand terms is a tree a thousand deep.
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        kind = node.__class__
        if kind is ast.Name:
            write("Name " + node.id)
        elif kind is ast.Constant:
            write("Constant " + _constant(node.value))
        elif kind is ast.JoinedStr:
            parts = _joined(node.values)
            write(f"JoinedStr {len(parts)}")
            pending.extend(reversed(parts))
        elif kind is str:
            write("'" + node)
        elif kind is ast.MatchSingleton:
            write(f"MatchSingleton {node.value}")
        elif node is None:
            write("-")
        else:
            name, fields = _FIELDS[kind]
            for field in fields:
                value = getattr(node, field, None)
                if value is None:
                    continue
                held = value.__class__
                if held is list:
                    if value:
                        name += f" {field}*{len(value)}"
                        pending += value[::-1]
                elif held is str or held is int:
                    name += f" {field}={value}"
                elif not value._fields:
                    name += f" {field}={held.__name__}"
                elif field == "format_spec" and not _joined(value.values):
                    # `f"{x:}"` is `f"{x}"`; Python versions differ in what they make of it.
                    continue
                else:
                    name += f" {field}"
                    pending.append(value)
            write(name)
    return "\n".join(lines)


def _constant(value: object) -> str:
    # Not repr: what is printable depends on the Unicode of the Python version, and long integers have no decimal text.
    kind = value.__class__
    return f"int {hex(cast(int, value))}" if kind is int else f"{kind.__name__} {value!a}"


def _joined(values: Iterable[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts as one and without empty ones."""
    parts: list[ast.expr] = []
    for value in values:
        nested = _joined(value.values) if isinstance(value, ast.JoinedStr) else [value]
        for part in nested:
            last = parts[-1] if parts else None
            if isinstance(part, ast.Constant) and isinstance(last, ast.Constant):
                parts[-1] = ast.Constant(cast(str, last.value) + cast(str, part.value))
            elif not (isinstance(part, ast.Constant) and part.value == ""):
                parts.append(part)
    return parts
